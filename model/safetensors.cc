#include "model/safetensors.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <tuple>

#include "common/json.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr int64_t kLengthBytes = 8;
// An entry is one object, a type, two lists, two offsets and its dimensions; nearly all have two.
constexpr int64_t kMaxHeaderValues = kMaxSafetensorsTensors * 10;

struct ElementType {
  std::string_view dtype;
  int bits;
};

constexpr ElementType kElementTypes[] = {
    {"BOOL", 8},    {"U8", 8},          {"I8", 8},          {"I16", 16},    {"U16", 16},
    {"I32", 32},    {"U32", 32},        {"I64", 64},        {"U64", 64},    {"F16", 16},
    {"BF16", 16},   {"F32", 32},        {"F64", 64},        {"C64", 64},    {"F8_E5M2", 8},
    {"F8_E4M3", 8}, {"F8_E5M2FNUZ", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E8M0", 8}, {"F6_E2M3", 6},
    {"F6_E3M2", 6}, {"F4", 4}};

absl::StatusOr<std::string_view> HeaderText(std::span<const std::byte> file,
                                            const std::string& source) {
  const auto size = static_cast<int64_t>(file.size());
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (text.starts_with("version https://git-lfs")) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": is a Git LFS pointer, not the file it points to"));
  }
  if (size < kLengthBytes) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": truncated: ", size, " bytes, ",
                                                   kLengthBytes, " are needed for a header"));
  }
  uint64_t length = 0;
  for (int i = kLengthBytes - 1; i >= 0; --i) {
    length = length << 8 | std::to_integer<uint64_t>(file[static_cast<std::size_t>(i)]);
  }
  if (length > uint64_t{kMaxSafetensorsHeaderBytes}) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": not a safetensors file: header of ",
                                                   length, " bytes, at most ",
                                                   kMaxSafetensorsHeaderBytes, " are allowed"));
  }
  if (length > static_cast<uint64_t>(size - kLengthBytes)) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": truncated: header of ", length,
                                                   " bytes in a file of ", size, " bytes"));
  }
  const std::string_view header = text.substr(kLengthBytes, length);
  if (!header.starts_with('{')) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": not a safetensors file: its header must begin with {"));
  }
  return header;
}

absl::StatusOr<int> ElementBits(const Json& entry, const std::string& what) {
  ASSIGN_OR_RETURN(const std::string dtype, JsonString(entry, "dtype", what));
  for (const ElementType& type : kElementTypes) {
    if (type.dtype == dtype) return type.bits;
  }
  return absl::InvalidArgumentError(
      absl::StrCat(what, ": dtype: unknown type ", JsonExcerpt(entry.at("dtype"))));
}

// A list of integers >= 0, at most `max_size` of them.
absl::StatusOr<std::vector<int64_t>> Naturals(const Json& entry, const char* key, int64_t max_size,
                                              const std::string& what) {
  const auto it = entry.find(key);
  if (it == entry.end() || !it->is_array() || static_cast<int64_t>(it->size()) > max_size) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": ", key, ": must be a list of at most ", max_size, " integers, ",
                     it == entry.end() ? "is missing" : absl::StrCat("is ", JsonExcerpt(*it))));
  }
  std::vector<int64_t> values;
  for (const Json& item : *it) {
    const std::optional<int64_t> value = JsonAsInt(item, 0, INT64_MAX);
    if (!value) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": ", key, ": must be integers of 0 or more, is ", JsonExcerpt(item)));
    }
    values.push_back(*value);
  }
  return values;
}

absl::StatusOr<int64_t> ShapeBytes(const std::vector<int64_t>& shape, int bits,
                                   const std::string& what) {
  int64_t product = bits;
  for (const int64_t dim : shape) {
    if (__builtin_mul_overflow(product, dim, &product)) {
      return absl::InvalidArgumentError(absl::StrCat(what, ": shape: more elements than can be"));
    }
  }
  if (product % 8 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": shape: its elements do not fill whole bytes"));
  }
  return product / 8;
}

// `payload` is the number of bytes after the header; offsets of the result are within those.
absl::StatusOr<StoredTensor> ParseEntry(const std::string& name, const Json& entry, int64_t payload,
                                        const std::string& what) {
  if (!entry.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": must be an object, is ", JsonExcerpt(entry)));
  }
  for (const auto& [key, value] : entry.items()) {
    if (key == "dtype" || key == "shape" || key == "data_offsets") continue;
    return absl::InvalidArgumentError(absl::StrCat(what, ": unknown field ", JsonExcerpt(key)));
  }
  ASSIGN_OR_RETURN(const int bits, ElementBits(entry, what));
  StoredTensor tensor;
  tensor.name = name;
  tensor.dtype = entry.at("dtype").get<std::string>();
  ASSIGN_OR_RETURN(tensor.shape, Naturals(entry, "shape", kMaxSafetensorsRank, what));
  ASSIGN_OR_RETURN(tensor.bytes, ShapeBytes(tensor.shape, bits, what));

  ASSIGN_OR_RETURN(const std::vector<int64_t> range, Naturals(entry, "data_offsets", 2, what));
  if (range.size() != 2 || range[0] > range[1]) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": data_offsets: must be a begin and an end not before it"));
  }
  if (range[1] - range[0] != tensor.bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": data_offsets: span ", range[1] - range[0],
                     " bytes, its type and shape need ", tensor.bytes));
  }
  if (range[1] > payload) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": truncated: ends at byte ", range[1],
                                                   " of the data, the file has ", payload));
  }
  tensor.begin = range[0];
  return tensor;
}

absl::Status CheckMetadata(const Json& metadata, const std::string& source) {
  bool strings = metadata.is_object();
  if (strings) {
    strings = std::all_of(metadata.begin(), metadata.end(),
                          [](const Json& value) { return value.is_string(); });
  }
  if (strings) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(source, ": __metadata__: must be an object of strings"));
}

std::string TensorWords(const std::string& source, const std::string& name) {
  return absl::StrCat(source, ": tensor ", JsonExcerpt(name));
}

// Byte ranges must follow one another from the first to the last byte of the data.
absl::Status CheckContiguous(const std::vector<StoredTensor>& tensors, int64_t payload,
                             const std::string& source) {
  int64_t end = 0;
  const StoredTensor* previous = nullptr;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.begin < end) {
      return absl::InvalidArgumentError(absl::StrCat(TensorWords(source, tensor.name),
                                                     ": data_offsets: overlaps tensor ",
                                                     JsonExcerpt(previous->name)));
    }
    if (tensor.begin > end) {
      return absl::InvalidArgumentError(absl::StrCat(TensorWords(source, tensor.name),
                                                     ": data_offsets: a hole of ",
                                                     tensor.begin - end, " bytes before it"));
    }
    end = tensor.begin + tensor.bytes;
    previous = &tensor;
  }
  if (end == payload) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(source, ": ", payload - end, " bytes after the last tensor belong to none"));
}

}  // namespace

absl::StatusOr<SafetensorsLayout> ParseSafetensors(std::span<const std::byte> file,
                                                   const std::string& source) {
  ASSIGN_OR_RETURN(const std::string_view text, HeaderText(file, source));
  ASSIGN_OR_RETURN(const Json header, ParseJson(text, absl::StrCat(source, ": header"),
                                                {.max_depth = 3, .max_values = kMaxHeaderValues}));
  SafetensorsLayout layout;
  layout.header_bytes = kLengthBytes + static_cast<int64_t>(text.size());
  const int64_t payload = static_cast<int64_t>(file.size()) - layout.header_bytes;
  if (static_cast<int64_t>(header.size()) > kMaxSafetensorsTensors) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": header: ", header.size(),
                                                   " tensors, at most ", kMaxSafetensorsTensors));
  }
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      RETURN_IF_ERROR(CheckMetadata(entry, source));
      continue;
    }
    ASSIGN_OR_RETURN(StoredTensor tensor,
                     ParseEntry(name, entry, payload, TensorWords(source, name)));
    layout.tensors.push_back(std::move(tensor));
  }
  std::sort(layout.tensors.begin(), layout.tensors.end(),
            [](const StoredTensor& a, const StoredTensor& b) {
              return std::tie(a.begin, a.bytes, a.name) < std::tie(b.begin, b.bytes, b.name);
            });
  RETURN_IF_ERROR(CheckContiguous(layout.tensors, payload, source));
  for (StoredTensor& tensor : layout.tensors) tensor.begin += layout.header_bytes;
  return layout;
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(
    const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  ASSIGN_OR_RETURN(SafetensorsLayout layout, ParseSafetensors(file.bytes(), path.string()));
  return std::unique_ptr<SafetensorsFile>(
      new SafetensorsFile(path, std::move(file), std::move(layout)));
}

}  // namespace headlong
