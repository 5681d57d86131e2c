// Any bytes as a safetensors file, and as the index of a sharded one: a status comes back, and what
// is accepted lies inside the file, each byte of it in one tensor.
#include <cstddef>
#include <cstdint>
#include <string>

#include "model/safetensors.h"
#include "model/weight_files.h"
#include "tests/fuzz/require.h"

using headlong::Require;

namespace {

void CheckLayout(std::span<const std::byte> file) {
  const auto layout = headlong::ParseSafetensors(file, "fuzz");
  if (!layout.ok()) {
    Require(!layout.status().message().empty());
    return;
  }
  int64_t end = layout->header_bytes;
  unsigned sum = 0;
  for (const headlong::StoredTensor& tensor : layout->tensors) {
    Require(tensor.begin == end && tensor.bytes >= 0);
    end += tensor.bytes;
    for (int64_t i = tensor.begin; i < end; ++i) {
      sum += std::to_integer<unsigned>(file[static_cast<size_t>(i)]);
    }
  }
  Require(end == static_cast<int64_t>(file.size()));
  [[maybe_unused]] static volatile unsigned sink;
  sink = sum;
}

void CheckIndex(const std::string& text) {
  const auto files = headlong::ParseWeightIndex(text, "fuzz");
  if (!files.ok()) return;
  for (const std::string& name : files->names) {
    Require(name.find('/') == std::string::npos && name.find("..") == std::string::npos);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  CheckLayout(std::as_bytes(std::span(data, size)));
  // The same bytes as a header of the right length: the fuzzer need not find the length each time.
  std::string framed(8, '\0');
  const size_t header = size - (size > 64 ? 64 : 0);
  for (int i = 0; i < 8; ++i)
    framed[static_cast<size_t>(i)] = static_cast<char>(header >> 8 * i & 0xFF);
  framed.append(reinterpret_cast<const char*>(data), size);
  CheckLayout(std::as_bytes(std::span(framed.data(), framed.size())));
  CheckIndex(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
