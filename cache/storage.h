// The element types keys and values are stored in, and rounding to them.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/float16.h"

namespace headlong {

// The first three hold numbers as they are; the others hold codes, whose scale stands beside the
// row (cache/row_format.h).
enum class Storage { kFloat32, kBfloat16, kFloat16, kFloat8, kInt8, kInt4 };

struct Bfloat16 {
  uint16_t bits = 0;
};

struct Float16 {
  uint16_t bits = 0;
};

inline constexpr bool IsCoded(Storage storage) { return storage > Storage::kFloat16; }

// Of numbers stored as they are.
inline constexpr int ElementBytes(Storage storage) { return storage == Storage::kFloat32 ? 4 : 2; }
// The same by the type's name.
inline int ElementBytes(std::string_view name) { return name == "bf16" || name == "fp16" ? 2 : 4; }

// Round to nearest even; NaN stays NaN (a quiet one of the same sign).
inline Bfloat16 ToBfloat16(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  const uint32_t half = 0x7fffu + ((bits >> 16) & 1u);  // carries into bit 16 above a half, or at
                                                        // one where that makes the result even
  return {static_cast<uint16_t>(nan ? (bits >> 16) | 0x40u : (bits + half) >> 16)};
}
inline float ToFloat(Bfloat16 value) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(value.bits) << 16);
}
inline float ToFloat(float value) { return value; }

// As SaturatedFloat16: what is beyond 65504 becomes 65504.
inline Float16 ToFloat16(float value) { return {SaturatedFloat16(value)}; }
inline float ToFloat(Float16 value) { return FromFloat16(value.bits); }

// fp8 e4m3 (OCP): sign, 4 bits of exponent with bias 7, 3 of mantissa; no infinity. Rounds to
// nearest even; what is beyond 448, the largest, becomes 448.
inline uint8_t ToFloat8(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const auto sign = static_cast<uint8_t>(bits >> 24 & 0x80u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7fu;
  if (magnitude >= 0x43e00000u) return sign | 0x7eu;  // 448
  if (magnitude < 0x3c800000u) {                      // below 2^-6: steps of 2^-9
    return sign |
           static_cast<uint8_t>(__builtin_rintf(__builtin_bit_cast(float, magnitude) * 0x1p9f));
  }
  const uint32_t rounded = magnitude + 0x7ffffu + (magnitude >> 20 & 1u);
  return sign | static_cast<uint8_t>((rounded >> 20) - ((127u - 7u) << 3));
}
inline float FromFloat8(uint8_t code) {
  const uint32_t sign = static_cast<uint32_t>(code & 0x80u) << 24;
  if ((code & 0x7fu) == 0x7fu) return __builtin_nanf("");
  const uint32_t magnitude = static_cast<uint32_t>(code & 0x7fu) << 20;
  return __builtin_bit_cast(
      float, __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, magnitude) * 0x1p120f) | sign);
}

// "fp32" | "bf16" | "fp16": what the numbers of a cache are stored in unless a policy says
// otherwise. INVALID_ARGUMENT otherwise.
absl::StatusOr<Storage> PlainStorageFromName(std::string_view name);
// Those, "fp8" | "int8" | "int4": what a policy may say. INVALID_ARGUMENT otherwise.
absl::StatusOr<Storage> StorageFromName(std::string_view name);
std::string_view StorageName(Storage storage);

}  // namespace headlong
