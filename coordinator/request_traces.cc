#include "coordinator/request_traces.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace headlong {

void RequestTraces::Begin(uint64_t id, const Request& request, const std::string& why_not,
                          TimePoint now) {
  RequestTrace& trace = live_.emplace(id, RequestTrace(request, now, UnixMillis())).first->second;
  trace.Wait(why_not.empty() ? TextOf(WaitCause::kNextStep)
                             : absl::StrCat(TextOf(WaitCause::kCluster), ": ", why_not),
             now);
}

void RequestTraces::End(uint64_t id, const std::string& how, TimePoint now) {
  const auto it = live_.find(id);
  if (it == live_.end()) return;
  it->second.End(how, now);
  if (ended_.size() == kMostEnded) ended_.pop_front();
  ended_.push_back(std::move(it->second));
  live_.erase(it);
  for (TracedSteps& steps : in_flight_) steps.erase(id);
}

void RequestTraces::StepSent(const v1::Step& step, const Scheduler& scheduler, TimePoint now) {
  TracedSteps& steps = in_flight_.emplace_back();
  for (const v1::BatchEntry& entry : step.entries()) {
    const uint64_t id = entry.sequence_id();
    TracedStep& traced = steps[id];
    traced.epoch = step.epoch();
    traced.number = step.step();
    traced.tokens = entry.sampled_before() ? 1 : entry.tokens_size();
    const bool unit = entry.layer_end() > 0;  // which counts when its layer is done
    traced.progress = unit ? scheduler.progress(id) : entry.position();
    traced.reaches = traced.progress + (unit ? 0 : traced.tokens);
    traced.sample = entry.sample();
    traced.sent = now;
  }
  for (const uint64_t id : running_) {
    const auto it = live_.find(id);
    if (it == live_.end()) continue;
    if (scheduler.phase(id) == SequencePhase::kWaiting) it->second.Preempted();
  }
  running_.clear();
  for (auto& [id, trace] : live_) {
    if (const auto cause = scheduler.Waits(id)) trace.Wait(TextOf(*cause), now);
    // What the step starts runs from here on.
    if (scheduler.phase(id) != SequencePhase::kWaiting) running_.push_back(id);
  }
}

void RequestTraces::StepDone(TimePoint now) {
  for (const auto& [id, step] : in_flight_.front()) live_.at(id).Computed(step, now);
  in_flight_.pop_front();
  // What was sent ahead begins now.
  for (TracedSteps& steps : in_flight_) {
    for (auto& [id, step] : steps) step.sent = std::max(step.sent, now);
  }
}

void RequestTraces::EpochEnded(uint64_t epoch, const std::string& why, TimePoint now) {
  for (const TracedSteps& steps : std::exchange(in_flight_, {})) {
    for (const auto& [id, step] : steps) live_.at(id).Lost(step, now);
  }
  for (auto& [id, trace] : live_) trace.Pause(epoch, why, now);
  running_.clear();
}

void RequestTraces::EpochServes(const Scheduler& scheduler, TimePoint now) {
  for (auto& [id, trace] : live_) {
    trace.Resume(scheduler.phase(id) != SequencePhase::kWaiting, now);
  }
}

absl::StatusOr<v1::RequestTrace> RequestTraces::Find(const std::string& request_id,
                                                     TimePoint now) const {
  for (const auto& [id, trace] : live_) {
    if (trace.request_id() == request_id) return trace.Describe(now);
  }
  const auto ended = std::find_if(ended_.rbegin(), ended_.rend(), [&](const RequestTrace& trace) {
    return trace.request_id() == request_id;
  });
  if (ended != ended_.rend()) return ended->Describe(now);
  return absl::NotFoundError(absl::StrCat("no request \"", request_id,
                                          "\" waits, runs, or is among the last ", kMostEnded,
                                          " that ended"));
}

}  // namespace headlong
