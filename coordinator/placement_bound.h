// What no placement can be faster than. Pure.
#pragma once

#include "coordinator/placement_model.h"

namespace headlong {

// Seconds of a step, sums included. The larger of two bounds: every layer perfectly divided over
// the fastest workers, each of which holds at least one head's projections, with an exchange or on
// no more workers than it has heads; and the whole model split under every worker's memory (a dual
// solution of that linear program).
double LowerBoundSeconds(const PlacementModel& model, bool stripes);

}  // namespace headlong
