// What operators asked of the cluster and what waits for the step in flight. Plain values of the
// engine thread.
#pragma once

#include <deque>
#include <map>
#include <string>

#include "cache/plan.h"
#include "headlong/v1/placement.pb.h"

namespace headlong {

struct Moves {
  std::map<std::string, bool> drains;  // worker id -> out of service; not done yet
  v1::Placement given;                 // for the epochs to come; no workers: the engine places
  bool given_is_new = false;           // not in force yet
  std::deque<Plan> plans;              // that were applied; other threads may still read them
  const Plan* plan = nullptr;          // the last of them, not in force yet
};

}  // namespace headlong
