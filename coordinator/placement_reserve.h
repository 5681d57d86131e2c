// What a placement costs whose heads, columns and rows are decided already: pages, bytes, modelled
// times. Pure.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "coordinator/placement.h"
#include "headlong/v1/placement.pb.h"

namespace headlong {

// `given` with the workers in the order of the problem's and with device, memory, pages, bytes and
// times set. What is left of a worker's memory becomes pages of retrieval lanes, up to what
// max_sequences of max_context need. INVALID_ARGUMENT names a worker that only one of both knows,
// or whose vocabulary rows come before those of a worker ahead of it; RESOURCE_EXHAUSTED, with the
// numbers, one whose memory is too small for one sequence of max_context.
// REQUIRES: `given` covers the model exactly once (PlacementFromJson).
absl::StatusOr<v1::Placement> Reserve(const PlacementProblem& problem, const v1::Placement& given);

}  // namespace headlong
