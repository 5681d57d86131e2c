// ToFloat32: weights to fp32 in bulk. Loops without branches, so that the compiler turns them into
// vector code for whatever processor it builds for.
#include <bit>
#include <cstdint>
#include <cstring>

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

// Exponent and mantissa move up 13 bits and the bias grows from 15 to 127. A subnormal is given the
// exponent of the smallest normal and has its hidden one subtracted: exact, and no subnormal of
// fp32 appears on the way, so the result is the same where those are flushed to zero. All others
// have zero subtracted: GCC does not vectorise a loop that subtracts only sometimes (it may trap).
float FromFloat16(uint16_t half) {
  constexpr uint32_t kExponent = 0x7C00u << 13;
  constexpr uint32_t kRebias = (127u - 15u) << 23;
  constexpr uint32_t kSpecial = (128u - 16u)
                                << 23;  // infinity and NaN keep an exponent of all ones
  constexpr uint32_t kOne = 1u << 23;   // of the exponent
  const uint32_t sign = (uint32_t{half} & 0x8000u) << 16;
  const uint32_t magnitude = (uint32_t{half} & 0x7FFFu) << 13;
  const uint32_t exponent = magnitude & kExponent;
  const uint32_t is_subnormal = exponent == 0 ? ~0u : 0u;
  const uint32_t is_special = exponent == kExponent ? ~0u : 0u;
  const float finite = std::bit_cast<float>(magnitude + kRebias + (kOne & is_subnormal)) -
                       std::bit_cast<float>((kRebias + kOne) & is_subnormal);
  return std::bit_cast<float>(sign | (std::bit_cast<uint32_t>(finite) + (kSpecial & is_special)));
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
