// Whether the parts that workers hold of a model cover it exactly once. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "cache/lane_class.h"
#include "cache/plan.h"

namespace headlong {

// INVALID_ARGUMENT names the first head that is not there exactly once over all workers: nobody
// holds it or one of its stripes, two do, its owners disagree about the number of stripes, or it is
// a local head and split. REQUIRES: heads are heads of the plan.
absl::Status CheckHeadsCovered(const Plan& plan,
                               std::span<const std::vector<HeldLane>> lanes_by_worker);

struct Part {  // half open
  int64_t begin = 0;
  int64_t end = 0;
};

// INVALID_ARGUMENT, in words that begin with `what`, unless the parts, in whatever order, cover
// [0, total) exactly once. Empty parts count for nothing.
absl::Status CheckCoveredOnce(std::vector<Part> parts, int64_t total, std::string_view what);

}  // namespace headlong
