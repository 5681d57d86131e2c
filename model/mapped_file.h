// A file in memory, mapped read-only; pages come from disk when they are touched. Owns the mapping.
// Readable from any thread. REQUIRES: nobody truncates the file while it is mapped (SIGBUS).
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <utility>

#include "absl/status/statusor.h"

namespace headlong {

class MappedFile {
 public:
  // Links are followed. NOT_FOUND when absent, INVALID_ARGUMENT when no regular file, else
  // UNAVAILABLE; errors name the path.
  static absl::StatusOr<MappedFile> Open(const std::filesystem::path& path);

  MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::span<const std::byte> bytes_;
};

}  // namespace headlong
