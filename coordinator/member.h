// What the cluster's state machine (coordinator/cluster) keeps of a worker, and what it wants done.
// Plain values of the engine thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "coordinator/clock.h"
#include "headlong/v1/worker.pb.h"

namespace headlong {

using LinkId = uint64_t;  // one connection of a worker; never used again

struct ClusterOptions {
  int expected_workers = 1;
  Millis heartbeat_timeout{2500};  // silence of a worker that makes it dead
  Millis rejoin_grace{3000};       // after a death, wait so long for a replacement
  Millis progress_timeout{60000};  // a step or a load in which none gets on
  Millis retry_interval{2000};     // after a placement or a worker said no
};

enum class ClusterPhase { kWaiting, kLoading, kServing, kRecovering };
enum class WorkerState { kRegistered, kLoading, kReady, kGone };

struct Member {
  LinkId link = 0;
  v1::Register registration;
  std::optional<v1::SharedProfile> shared;  // measured last; none where it states its speeds
  WorkerState state = WorkerState::kRegistered;
  TimePoint last_beat;
  uint64_t progress = 0;
  TimePoint last_progress;
  uint64_t epoch = 0;  // last one configured
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
  uint64_t cache_bytes_used = 0;
  double compute_ms = 0, collective_ms = 0;  // of all its steps
  bool leaving = false;                      // it was told to end: in no epoch to come
};

// What the engine has to do after an event.
struct ClusterActions {
  bool stop_work = false;      // the epoch is over: steps in flight will not come back
  bool begin_epoch = false;    // place over members() and configure them
  bool began_serving = false;  // replay what is unfinished
  bool join = false;           // a missing worker is there: Join between two steps
  std::vector<LinkId> close;   // connections of workers that are dead or replaced
};

}  // namespace headlong
