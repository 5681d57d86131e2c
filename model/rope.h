// What config.json says of the rotary embedding, in the layouts of transformers 4 (rope_theta,
// rope_scaling) and 5 (rope_parameters). Pure; callable from any thread.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/json.h"
#include "model/config.h"

namespace headlong {

// `config` is the object of config.json, `source` its name for errors. UNIMPLEMENTED names a rope
// type that this program does not run; INVALID_ARGUMENT names the field, also where the two layouts
// stand side by side and contradict each other.
absl::StatusOr<RopeConfig> ParseRope(const Json& config, const std::string& source);

// Inverse frequencies of the rotary embedding after scaling, head_dim / 2 values in fp32
// (computed in fp64). Sources: RoFormer (Su et al.), position interpolation (Chen et al.),
// Llama 3.1's frequency bands and YaRN (Peng et al., sections 3.2 and 3.3) as in Hugging Face
// transformers' modeling_rope_utils.
std::vector<float> RopeInverseFrequencies(const RopeConfig& rope, int head_dim);

// The positions that a model of `max_position_embeddings` is made for. linear and yarn serve
// `factor` times as many as the model was trained on, and config.json may give either number:
// Qwen's guide to yarn, for one, leaves the smaller. What vLLM serves by default, and never less
// than what transformers takes.
int64_t ScaledContext(const RopeConfig& rope, int64_t max_position_embeddings);

// For people: "yarn, base 1e+06, factor 4 over 32768 positions".
std::string DescribeRope(const RopeConfig& rope);

}  // namespace headlong
