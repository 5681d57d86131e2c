// The steps that the workers compute now or have before them, and counts of steps. Plain values of
// the engine thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
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
  double slowest_ms = 0;  // of those that answered: what the worker spent of it
};

struct Steps {
  std::deque<StepInFlight> in_flight;  // oldest first
  uint64_t number = 0;                 // of the newest one, in the current epoch
  uint64_t total = 0;                  // of all epochs
  double last_ms = 0;                  // what the last one took
  double wire_ms = 0;  // what steps take beside the workers' own time, over the last thirty or so
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
    for (const v1::BatchEntry& entry : step.entries()) {
      if (entry.sample()) added.sampling.push_back(entry.sequence_id());
      total_tokens += static_cast<uint64_t>(entry.sampled_before() ? 1 : entry.tokens_size());
    }
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
    const double wire = std::max(last_ms - oldest.slowest_ms, 0.0);
    wire_ms += (wire - wire_ms) / (wire_ms > 0 ? 32 : 1);
    return oldest;
  }
};

}  // namespace headlong
