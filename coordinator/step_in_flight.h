// The step that the workers compute now, and counts of steps. Plain values of the engine thread.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "coordinator/clock.h"
#include "coordinator/cluster.h"
#include "headlong/v1/worker.pb.h"

namespace headlong {

struct StepInFlight {
  uint64_t number = 0;             // in the current epoch
  std::vector<uint64_t> sampling;  // sequences that it samples, in order
  std::set<LinkId> awaited;        // workers that have not answered; empty: no step is in flight
  v1::StepDone leader_done;
  TimePoint sent;
  uint64_t total = 0;  // of all epochs
  double last_ms = 0;  // what the last one took
  double total_ms = 0;
  uint64_t total_tokens = 0;
  uint64_t total_samples = 0;  // drawn for requests that still ran

  bool open() const { return !awaited.empty(); }
};

}  // namespace headlong
