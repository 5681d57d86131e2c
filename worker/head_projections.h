// What the held heads' queries, keys and values are projected on, as the plan and the coordinator
// say it. Pure.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "cache/plan.h"
#include "cache/projections.h"
#include "headlong/v1/worker.pb.h"

namespace headlong {

// [layer][held head], as `heads` has them; empty where no head of the plan is projected or turned.
// INVALID_ARGUMENT names a head whose projections are missing or do not have the plan's rank.
absl::StatusOr<std::vector<std::vector<HeadProjections>>> ProjectionsOf(
    const Plan& plan, const std::vector<std::vector<int>>& heads, const v1::Configure& configure,
    int head_dim);

}  // namespace headlong
