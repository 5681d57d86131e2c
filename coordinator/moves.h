// What operators asked of the cluster and what waits for the step in flight; what becomes of the
// sequences that run when an epoch ends. Plain values of the engine thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cache/plan.h"
#include "coordinator/cluster.h"
#include "headlong/v1/placement.pb.h"
#include "headlong/v1/worker.pb.h"

namespace headlong {

// An epoch that ended by a move, between two steps: its workers hold all lanes until they are told
// of the next one.
struct EndedEpoch {
  uint64_t epoch = 0;
  v1::Placement placement;
  std::string plan_json;  // lanes of another plan are other lanes
  std::vector<LinkId> members;
};

struct Moves {
  std::map<std::string, bool> drains;  // worker id -> out of service; not done yet
  v1::Placement given;                 // for the epochs to come; no workers: the engine places
  bool given_is_new = false;           // not in force yet
  std::deque<Plan> plans;              // that were applied; other threads may still read them
  const Plan* plan = nullptr;          // the last of them, not in force yet
  std::set<LinkId> leaves;             // of workers that were told to end; not done yet
  bool join = false;                   // a worker that was missing waits to be let in
  bool waiting() const {
    return !drains.empty() || given_is_new || plan != nullptr || !leaves.empty() || join;
  }
  std::set<LinkId> released;  // who left an epoch and was told to stop

  std::optional<EndedEpoch> ended;  // taken by the next epoch, whether that comes to serve or not
  v1::LaneTransfer transfer;        // into the current epoch; no sequences: there is none
  std::vector<LinkId> leaving;      // who takes part in it, and is not in the epoch
  bool lanes_kept = false;          // so far every worker that is ready says so
  uint64_t sequences_moved = 0;
  uint64_t sequences_replayed = 0;
};

}  // namespace headlong
