// ToFloat32: weights to fp32 in bulk. Loops without branches, so that the compiler turns them into
// vector code for whatever processor it builds for.
#include <bit>
#include <cstdint>
#include <cstring>

#include "common/float16.h"
#include "model/checkpoint.h"

namespace headlong {
namespace {

uint16_t Load16(const std::byte* from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof(bits));  // a header of odd length leaves every tensor unaligned
  return bits;
}

void FromBfloat16(const std::byte* in, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    out[i] = std::bit_cast<float>(uint32_t{Load16(in + 2 * i)} << 16);
  }
}

}  // namespace

void ToFloat32(const TensorView& tensor, int64_t first, int64_t count, float* out) {
  if (tensor.data == nullptr) {
    for (int64_t i = 0; i < count; ++i) {
      out[i] = DummyNumber(tensor.dummy, static_cast<uint64_t>(first + i));
    }
    return;
  }
  const std::byte* in = tensor.data + first * ElementBytes(tensor.type);
  switch (tensor.type) {
    case TensorType::kFloat32:
      if (count > 0) std::memcpy(out, in, static_cast<std::size_t>(count) * sizeof(float));
      return;
    case TensorType::kBfloat16:
      FromBfloat16(in, count, out);
      return;
    case TensorType::kFloat16:
      for (int64_t i = 0; i < count; ++i) out[i] = FromFloat16(Load16(in + 2 * i));
      return;
  }
}

}  // namespace headlong
