// What a lane stores of a key and of a value: the type, how many numbers, in which basis. Plain
// values.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cache/storage.h"

namespace headlong {

// What keys and values are stored as. Absent: the cache's own type.
struct LaneStorage {
  std::optional<Storage> keys;
  std::optional<Storage> values;
  bool named() const { return keys.has_value() || values.has_value(); }
  // Whether a side holds codes: the first tokens may then stay plain.
  bool coded() const { return (keys && IsCoded(*keys)) || (values && IsCoded(*values)); }
  auto operator<=>(const LaneStorage&) const = default;
};

// "int8" | "int4" | "fp8" | "fp16" | "bf16" | "fp32" for both, or one for keys and one for values:
// "int8/int4"; "own" on either side: the cache's own type. INVALID_ARGUMENT says what was not
// understood.
absl::StatusOr<LaneStorage> LaneStorageFromName(std::string_view name);
std::string LaneStorageName(const LaneStorage& storage);

// How many numbers of a key and of a value are stored, in the head's own bases (projections.h). 0:
// the key or value as the model has it.
struct LaneRank {
  int keys = 0;
  int values = 0;
  bool projected() const { return keys > 0 || values > 0; }
  auto operator<=>(const LaneRank&) const = default;
};

// "48" for both, or one for keys and one for values: "48/64"; "all" on either side: not projected.
// INVALID_ARGUMENT says what was not understood.
absl::StatusOr<LaneRank> LaneRankFromName(std::string_view name);
std::string LaneRankName(const LaneRank& rank);

inline constexpr int kRankStep = 16;  // ranks are multiples of this
inline constexpr int kMaxHeadDim = 256;

// What keys, queries and values are turned by before they are stored: scores and sums stay what
// they are, and outliers are spread over all numbers. Of heads without bases of their own.
enum class Rotation { kNone, kHadamard };

}  // namespace headlong
