// What the wire says about a model, as the types that plans and pictures are made of. Pure.
#pragma once

#include "absl/status/statusor.h"
#include "cache/plan.h"
#include "cli/head_map.h"
#include "headlong/v1/inference.pb.h"

namespace headlong {

// The plan that a server runs. INTERNAL when this program cannot read it (another version).
absl::StatusOr<Plan> PlanOf(const v1::GetModelResponse& model);

// head_dim and element_bytes of the model's cache; no length yet.
CacheMapParams CacheMapOf(const v1::GetModelResponse& model);

// How many tokens a finished sequence holds: with the one that ended it, or without it where that
// one was never computed on. The sizes that the server reported say which.
int64_t CachedTokens(const Plan& plan, const CacheMapParams& params, const v1::Usage& usage);

}  // namespace headlong
