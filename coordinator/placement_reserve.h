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

// Bytes that combining the stripes of split heads takes on a worker: the log-sum-exps of its own
// parts and the buffer in which the layer's are exchanged. `parts`: owners of the split heads of
// the layer that has most of them, all heads together; `held`: most split heads of a layer that the
// worker holds. 0 where no head is split.
int64_t ExchangeBytes(const PlacementProblem& problem, int parts, int held);

}  // namespace headlong
