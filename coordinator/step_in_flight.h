// The steps that the workers compute now or have before them, and counts of steps. Plain values of
// the engine thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "coordinator/clock.h"
#include "coordinator/cluster.h"
#include "headlong/v1/worker.pb.h"

namespace headlong {

struct StepInFlight {
  uint64_t number = 0;             // in the current epoch
  std::vector<uint64_t> sampling;  // sequences that it samples, in order
  std::set<LinkId> awaited;        // workers that have not answered
  v1::StepDone leader_done;
  TimePoint sent;
  bool one_row = false;
  double slowest_ms = 0;  // of those that answered: what the worker spent of it
  // The same of sums alone, where most is waiting, but for the worker that comes last.
  double least_sums_ms = std::numeric_limits<double>::infinity();
};

// Over the last thirty or so.
struct MovingMean {
  double value = 0;
  bool known = false;

  void Add(double next) {
    value += (next - value) / (known ? 32 : 1);
    known = true;
  }
};

struct Steps {
  std::deque<StepInFlight> in_flight;  // oldest first
  uint64_t number = 0;                 // of the newest one, in the current epoch
  uint64_t total = 0;                  // of all epochs
  double last_ms = 0;                  // what the last one took
  MovingMean wire_ms;                  // what steps take beside the workers' own time
  MovingMean sums_ms;                  // of a step of one row in the current epoch, all its sums
  double total_ms = 0;
  uint64_t total_tokens = 0;
  uint64_t total_samples = 0;  // drawn for requests that still ran
  TimePoint last_done;

  bool open() const { return !in_flight.empty(); }

  StepInFlight* find(uint64_t step) {
    const auto it =
        std::find_if(in_flight.begin(), in_flight.end(),
                     [step](const StepInFlight& other) { return other.number == step; });
    return it == in_flight.end() ? nullptr : &*it;
  }

  StepInFlight& Add(const v1::Step& step, const std::vector<LinkId>& members, TimePoint now) {
    StepInFlight& added = in_flight.emplace_back();
    added.number = ++number;
    added.sent = now;
    added.awaited.insert(members.begin(), members.end());
    ++total;
    uint64_t rows = 0;
    for (const v1::BatchEntry& entry : step.entries()) {
      if (entry.sample()) added.sampling.push_back(entry.sequence_id());
      rows += static_cast<uint64_t>(entry.sampled_before() ? 1 : entry.tokens_size());
    }
    added.one_row = rows == 1;
    total_tokens += rows;
    return added;
  }

  // REQUIRES: open, and all workers have answered it. Its time counts from the end of the one
  // before, if that was later than when it was sent.
  StepInFlight TakeOldest(TimePoint now) {
    StepInFlight oldest = std::move(in_flight.front());
    in_flight.pop_front();
    last_ms = MillisBetween(std::max(oldest.sent, last_done), now);
    total_ms += last_ms;
    last_done = now;
    wire_ms.Add(std::max(last_ms - oldest.slowest_ms, 0.0));
    if (oldest.one_row) sums_ms.Add(oldest.least_sums_ms);
    return oldest;
  }
};

}  // namespace headlong
