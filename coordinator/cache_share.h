// Whether the sequences of one access token stay within the part of the caches that it may hold.
// Pure.
#pragma once

#include <cstdint>
#include <map>

#include "absl/status/status.h"
#include "coordinator/live_request.h"
#include "coordinator/page_budget.h"

namespace headlong {

// Counts what each would hold at its last token, of the class of pages that is shortest. RESOURCE_
// EXHAUSTED says both shares; with a retry hint unless `request` is too large by itself.
absl::Status CheckCacheShare(const Request& request, const std::map<uint64_t, LiveRequest>& running,
                             const PageBudget& budget);

}  // namespace headlong
