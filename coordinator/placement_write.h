// A solution as the wire's Placement: slots become heads, units become ranges, and what memory is
// left becomes pages. Pure.
#pragma once

#include "coordinator/placement_solver.h"
#include "headlong/v1/placement.pb.h"

namespace headlong {

// All workers get pages for the same number of sequences, since the cluster's budget of a class is
// the least reservation; as many as fit, up to max_sequences.
v1::Placement WritePlacement(const PlacementModel& model, const Solution& solution);

}  // namespace headlong
