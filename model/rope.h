// What config.json says of the rotary embedding, in the layouts of transformers 4 (rope_theta,
// rope_scaling) and 5 (rope_parameters). Pure; callable from any thread.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/json.h"
#include "model/config.h"

namespace headlong {

// `config` is the object of config.json, `source` its name for errors. UNIMPLEMENTED names a rope
// type that this program does not run; INVALID_ARGUMENT names the field, also where the two layouts
// stand side by side and contradict each other.
absl::StatusOr<RopeConfig> ParseRope(const Json& config, const std::string& source);

}  // namespace headlong
