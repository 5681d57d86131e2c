// The safetensors format: 8 bytes of header length (little endian), a JSON object that gives each
// tensor its type, shape and byte range, then the bytes. A header is believed only after every
// field of it was checked: types, shapes, and byte ranges that follow one another from the first to
// the last byte without overlap or hole. Immutable after Open; readable from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/mapped_file.h"

namespace headlong {

inline constexpr int64_t kMaxSafetensorsHeaderBytes = int64_t{16} << 20;
inline constexpr int64_t kMaxSafetensorsTensors = 200'000;
inline constexpr int64_t kMaxSafetensorsRank = 16;

// A tensor as its file describes it, not necessarily of a type that we compute with.
struct StoredTensor {
  std::string name;
  std::string dtype;  // the format's word, e.g. "BF16" or "F8_E4M3"
  std::vector<int64_t> shape;
  int64_t begin = 0;  // of its bytes, from the start of the file
  int64_t bytes = 0;
};

struct SafetensorsLayout {
  int64_t header_bytes = 0;           // the length field and the JSON
  std::vector<StoredTensor> tensors;  // in the order of their bytes
};

// Checks a whole file's bytes; reads only the header's. INVALID_ARGUMENT starts with `source` and
// names the tensor where there is one.
absl::StatusOr<SafetensorsLayout> ParseSafetensors(std::span<const std::byte> file,
                                                   const std::string& source);

class SafetensorsFile {
 public:
  // Errors as of MappedFile::Open and ParseSafetensors; they name the path.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const std::vector<StoredTensor>& tensors() const { return layout_.tensors; }
  std::span<const std::byte> header() const {
    return file_.bytes().first(static_cast<std::size_t>(layout_.header_bytes));
  }
  // REQUIRES: `tensor` is one of tensors().
  const std::byte* data(const StoredTensor& tensor) const {
    return file_.bytes().data() + tensor.begin;
  }

 private:
  SafetensorsFile(std::filesystem::path path, MappedFile file, SafetensorsLayout layout)
      : path_(std::move(path)), file_(std::move(file)), layout_(std::move(layout)) {}

  std::filesystem::path path_;
  MappedFile file_;
  SafetensorsLayout layout_;
};

}  // namespace headlong
