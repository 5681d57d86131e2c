// fp16 (IEEE binary16): sign, 5 bits of exponent with bias 15, 10 of mantissa. From and to fp32,
// without branches where the compiler is to make vector code of loops over them.
#pragma once

#include <cstdint>

namespace headlong {

// Exponent and mantissa move up 13 bits and the bias grows from 15 to 127. A subnormal is given the
// exponent of the smallest normal and has its hidden one subtracted: exact, and no subnormal of
// fp32 appears on the way, so the result is the same where those are flushed to zero. All others
// have zero subtracted: GCC does not vectorise a loop that subtracts only sometimes (it may trap).
inline float FromFloat16(uint16_t half) {
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
  const float finite = __builtin_bit_cast(float, magnitude + kRebias + (kOne & is_subnormal)) -
                       __builtin_bit_cast(float, (kRebias + kOne) & is_subnormal);
  return __builtin_bit_cast(
      float, sign | (__builtin_bit_cast(uint32_t, finite) + (kSpecial & is_special)));
}

// Rounds to nearest even. What is beyond 65504, the largest, becomes 65504, infinity too: a key too
// large for the type stays the largest one there is, where infinity would make NaN of a softmax.
// NaN stays NaN (a quiet one of the same sign).
inline uint16_t SaturatedFloat16(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7e00u;
  if (magnitude >= 0x477fe000u) return sign | 0x7bffu;  // 65504
  if (magnitude < 0x38800000u) {                        // below 2^-14: steps of 2^-24
    return sign |
           static_cast<uint16_t>(__builtin_rintf(__builtin_bit_cast(float, magnitude) * 0x1p24f));
  }
  const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
  return sign | static_cast<uint16_t>((rounded >> 13) - ((127u - 15u) << 10));
}

}  // namespace headlong
