// What a worker's share says it holds of every head.
#pragma once

#include <vector>

#include "cache/lane_class.h"
#include "headlong/v1/placement.pb.h"

namespace headlong {

// Ascending. REQUIRES: the share is of a placement that was made or checked here.
std::vector<HeldLane> HeldLanesOf(const v1::WorkerShare& share);

}  // namespace headlong
