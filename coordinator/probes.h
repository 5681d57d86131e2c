// Requests that measure: which of them live, and whether another one can be taken. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/live_request.h"

namespace headlong {

using LiveRequests = std::map<uint64_t, LiveRequest>;

std::vector<uint64_t> ProbesIn(const LiveRequests& requests);

// Adds what a worker measured in a step. Whose probe could not be measured, and why.
std::vector<std::pair<uint64_t, absl::Status>> TakeProbes(const v1::StepDone& done,
                                                          LiveRequests& requests);

// FAILED_PRECONDITION while another one lives; UNIMPLEMENTED when the plan cannot be measured.
absl::Status CheckProbe(const LiveRequests& requests, const Plan& plan);

}  // namespace headlong
