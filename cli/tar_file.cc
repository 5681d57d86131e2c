#include "cli/tar_file.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_format.h"

namespace headlong {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kChecksumAt = 148;
constexpr size_t kChecksumBytes = 8;

// IEEE 1003.1, "pax Interchange Format", ustar header: text in fields of fixed places.
void Put(std::string& header, size_t at, std::string_view text) {
  std::copy(text.begin(), text.end(), header.begin() + static_cast<std::ptrdiff_t>(at));
}

}  // namespace

void TarFile::Add(std::string_view path, std::string_view text) {
  std::string header(kBlock, '\0');
  Put(header, 0, path);
  Put(header, 100, "0000600");  // mode
  Put(header, 108, "0000000");  // uid
  Put(header, 116, "0000000");  // gid
  Put(header, 124, absl::StrFormat("%011o", text.size()));
  Put(header, 136, absl::StrFormat("%011o", unix_s_));
  Put(header, 156, "0");  // a regular file
  Put(header, 257, std::string_view("ustar\00000", 8));
  Put(header, kChecksumAt, std::string(kChecksumBytes, ' '));
  uint32_t sum = 0;
  for (const unsigned char byte : header) sum += byte;
  Put(header, kChecksumAt, absl::StrFormat("%06o", sum) + std::string("\0 ", 2));
  bytes_ += header;
  bytes_ += text;
  bytes_.append((kBlock - text.size() % kBlock) % kBlock, '\0');
}

std::string TarFile::Bytes() const { return bytes_ + std::string(2 * kBlock, '\0'); }

}  // namespace headlong
