// A tar archive (POSIX ustar) of a few small files, made in memory. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace headlong {

class TarFile {
 public:
  // `unix_s`: when every file in it was changed.
  explicit TarFile(int64_t unix_s) : unix_s_(unix_s) {}
  // REQUIRES: `path` is relative and at most 100 bytes long.
  void Add(std::string_view path, std::string_view text);
  // The archive, ended.
  std::string Bytes() const;

 private:
  const int64_t unix_s_;
  std::string bytes_;
};

}  // namespace headlong
