// ALiBi: positions as a bias on logits that grows with distance (Press et al. 2022,
// arXiv 2108.12409). Pure; callable from any thread.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/json.h"
#include "model/config.h"

namespace headlong {

// By query head: 2^(-bias_max * i / heads), i = 1, 2, ... Where `heads` is no power of two, of the
// next one's every second slope, then those between, as in Hugging Face transformers (BLOOM, whose
// bias_max is 8, and MPT agree).
std::vector<float> AlibiSlopes(int heads, double bias_max);

// The slopes that MPT's `attn_config` gives. INVALID_ARGUMENT names a field out of range,
// UNIMPLEMENTED one that asks for what is not run, also where there is no ALiBi.
absl::StatusOr<std::vector<float>> ParseAttnConfig(const Json& config, int heads,
                                                   const std::string& source);

// For people: "ALiBi, slopes 0.00390625 to 0.25", or DescribeRope.
std::string DescribePositions(const ModelConfig& config);

}  // namespace headlong
