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

// Round to nearest even; NaN stays NaN.
Bfloat16 ToBfloat16(float value);
inline float ToFloat(Bfloat16 value) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(value.bits) << 16);
}
inline float ToFloat(float value) { return value; }

// "fp32" | "bf16". INVALID_ARGUMENT otherwise.
absl::StatusOr<Storage> StorageFromName(std::string_view name);
std::string_view StorageName(Storage storage);

}  // namespace headlong
