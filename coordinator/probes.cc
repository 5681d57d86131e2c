#include "coordinator/probes.h"

namespace headlong {

std::vector<uint64_t> ProbesIn(const LiveRequests& requests) {
  std::vector<uint64_t> ids;
  for (const auto& [id, live] : requests) {
    if (live.request.probe) ids.push_back(id);
  }
  return ids;
}

std::vector<std::pair<uint64_t, absl::Status>> TakeProbes(const v1::StepDone& done,
                                                          LiveRequests& requests) {
  std::vector<std::pair<uint64_t, absl::Status>> failures;
  for (const v1::SequenceProbe& probe : done.probes()) {
    const auto live = requests.find(probe.sequence_id());
    if (live == requests.end() || !live->second.request.probe) continue;
    live->second.TakeProbe(probe.result());
    const std::string& why = probe.result().error();
    if (why.empty()) continue;
    failures.emplace_back(probe.sequence_id(), absl::FailedPreconditionError(why));
  }
  return failures;
}

absl::Status CheckProbe(const LiveRequests& requests, const Plan& plan) {
  if (!ProbesIn(requests).empty()) {
    return absl::FailedPreconditionError("probe: another one runs, and one runs at a time");
  }
  if (plan.prefill() == PrefillMode::kExact) {
    return absl::UnimplementedError("probe: a plan with `prefill: exact` is not measured");
  }
  return absl::OkStatus();
}

}  // namespace headlong
