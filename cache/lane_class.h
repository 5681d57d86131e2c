// Lane classes: the lanes of one worker that share a policy. They have the same pages per token
// count, so one block table per sequence serves them all. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/plan.h"

namespace headlong {

struct LaneId {
  int layer = 0;
  int head = 0;  // KV head of the model, not of the share
  friend bool operator==(const LaneId&, const LaneId&) = default;
  friend auto operator<=>(const LaneId&, const LaneId&) = default;
};

struct LaneClass {
  int policy = 0;             // index into plan.policies()
  std::vector<LaneId> lanes;  // sorted; lane index = position here
};

// Classes of the given heads, ordered by policy index; classes without lanes are left out. Both the
// coordinator (accounting) and the worker (slabs) call this, so they agree on the order.
std::vector<LaneClass> BuildLaneClasses(const Plan& plan, std::span<const LaneId> heads);

// Bytes of one page of a class: lanes * (K and V) * page_tokens * head_dim * element_bytes.
int64_t PageBytes(const Plan& plan, const LaneClass& lane_class, int head_dim, int element_bytes);

// fp32 sums of one sequence in this class (0 where the class does not compensate).
int64_t SumBytes(const Plan& plan, const LaneClass& lane_class, int head_dim);

}  // namespace headlong
