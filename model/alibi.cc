#include "model/alibi.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "common/status.h"
#include "model/rope.h"
#include "model/unsupported_features.h"

namespace headlong {

std::vector<float> AlibiSlopes(int heads, double bias_max) {
  const auto power = static_cast<int>(std::bit_ceil(static_cast<unsigned>(heads)));
  const auto slope = [&](int i) {
    return static_cast<float>(std::exp2(-bias_max * (i + 1) / power));
  };
  std::vector<float> slopes;
  if (power == heads) {
    for (int i = 0; i < heads; ++i) slopes.push_back(slope(i));
    return slopes;
  }
  for (const int first : {1, 0}) {
    for (int i = first; i < power; i += 2) slopes.push_back(slope(i));
  }
  slopes.resize(heads);
  return slopes;
}

absl::StatusOr<std::vector<float>> ParseAttnConfig(const Json& config, int heads,
                                                   const std::string& source) {
  constexpr double kDefaultBiasMax = 8;
  constexpr double kLargestBiasMax = 64;
  double bias_max = kDefaultBiasMax;
  const auto it = config.find("attn_config");
  if (it == config.end() || it->is_null()) return AlibiSlopes(heads, bias_max);
  const std::string what = source + ": attn_config";
  if (!it->is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": must be an object, is ", JsonExcerpt(*it)));
  }
  RETURN_IF_ERROR(RefuseUnsupportedAttention(*it, what));
  if (it->contains("alibi_bias_max")) {
    ASSIGN_OR_RETURN(bias_max, JsonNumber(*it, "alibi_bias_max", what));
    if (!(bias_max > 0 && bias_max <= kLargestBiasMax)) {
      return absl::InvalidArgumentError(absl::StrCat(what, ": alibi_bias_max: must be in (0, ",
                                                     kLargestBiasMax, "], is ", bias_max));
    }
  }
  return AlibiSlopes(heads, bias_max);
}

std::string DescribePositions(const ModelConfig& config) {
  if (!config.alibi()) return DescribeRope(config.rope);
  const std::vector<float>& slopes = config.alibi_slopes;
  const auto [least, most] = std::minmax_element(slopes.begin(), slopes.end());
  return absl::StrCat("ALiBi, slopes ", *least, " to ", *most);
}

}  // namespace headlong
