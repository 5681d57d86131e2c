// The element types keys and values are stored in, and rounding to them.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace headlong {

enum class Storage { kFloat32, kBfloat16 };

struct Bfloat16 {
  uint16_t bits = 0;
};

inline constexpr int ElementBytes(Storage storage) { return storage == Storage::kFloat32 ? 4 : 2; }

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

// "fp32" | "bf16". INVALID_ARGUMENT otherwise.
absl::StatusOr<Storage> StorageFromName(std::string_view name);
std::string_view StorageName(Storage storage);

}  // namespace headlong
