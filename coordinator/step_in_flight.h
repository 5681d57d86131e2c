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
  uint64_t total = 0;     // of all epochs
  double last_ms = 0;     // what the last one took
  double slowest_ms = 0;  // of those that answered: what the worker spent of it
  double wire_ms = 0;     // what steps take beside that, over the last thirty or so
  double total_ms = 0;
  uint64_t total_tokens = 0;
  uint64_t total_samples = 0;  // drawn for requests that still ran

  // All have answered, now.
  void Answered(TimePoint now) {
    last_ms = MillisBetween(sent, now);
    total_ms += last_ms;
    const double wire = last_ms - slowest_ms;
    wire_ms += (wire - wire_ms) / (wire_ms > 0 ? 32 : 1);
    slowest_ms = 0;
  }

  bool open() const { return !awaited.empty(); }
};

}  // namespace headlong
