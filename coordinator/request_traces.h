// The traces of all requests that wait or run, and of the last kMostEnded that ended: at most some
// 5 MiB of these. Pure; one owner (the engine thread).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/request_trace.h"
#include "coordinator/scheduler.h"

namespace headlong {

class RequestTraces {
 public:
  static constexpr size_t kMostEnded = 256;  // as admin.proto says

  // A request is queued; `why_not` says why no epoch serves, empty where one does.
  void Begin(uint64_t id, const Request& request, const std::string& why_not, TimePoint now);
  void End(uint64_t id, const std::string& how, TimePoint now);  // nothing where it is not known

  // The scheduler planned `step`, which is sent now. Whoever is not in it waits.
  void StepSent(const v1::Step& step, const Scheduler& scheduler, TimePoint now);
  void StepDone(TimePoint now);                                            // the oldest
  void EpochEnded(uint64_t epoch, const std::string& why, TimePoint now);  // steps are lost
  // Of those that had begun, the scheduler runs the ones whose lanes came along.
  void EpochServes(const Scheduler& scheduler, TimePoint now);

  // NOT_FOUND.
  absl::StatusOr<v1::RequestTrace> Find(const std::string& request_id, TimePoint now) const;

 private:
  using TracedSteps = std::map<uint64_t, TracedStep>;  // one step, by sequence id

  std::map<uint64_t, RequestTrace> live_;  // by sequence id
  std::deque<TracedSteps> in_flight_;      // oldest first
  std::vector<uint64_t> running_;          // before the step
  std::deque<RequestTrace> ended_;         // oldest first
};

}  // namespace headlong
