// Fields of config.json that change a model's mathematics in ways this program does not run. A
// field that nobody here knows is ignored, as transformers does; these are known, and are refused
// by name unless their value changes nothing. Pure; callable from any thread.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/json.h"
#include "model/config.h"

namespace headlong {

// Features that no value but a constant one leaves out. `model` says what its family has: biases of
// query, key and value, norms of query and key heads. UNIMPLEMENTED names the field and its value.
absl::Status RefuseUnsupportedFeatures(const Json& config, const ModelConfig& model,
                                       const std::string& source);

// The same of MPT's attn_config, where `alibi` must be on.
absl::Status RefuseUnsupportedAttention(const Json& attn_config, const std::string& source);

// Fields whose neutral value follows from the model's shape and rotary embedding, e.g. a scale of
// attention other than 1 / sqrt(head_dim). Errors as above.
absl::Status RefuseUnsupportedScales(const Json& config, const ModelConfig& model,
                                     const std::string& source);

}  // namespace headlong
