// Lane classes: the lanes of one worker that share a policy and the stripes held of it. They have
// the same pages per token count, so one block table per sequence serves them all. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/plan.h"
#include "cache/stripes.h"

namespace headlong {

struct LaneId {
  int layer = 0;
  int head = 0;  // KV head of the model, not of the share
  friend bool operator==(const LaneId&, const LaneId&) = default;
  friend auto operator<=>(const LaneId&, const LaneId&) = default;
};

// What one worker holds of a head's lanes: all of it, or stripes of a retrieval head.
struct HeldLane {
  LaneId id;
  StripeRange stripes = {};
  friend bool operator==(const HeldLane&, const HeldLane&) = default;
  friend auto operator<=>(const HeldLane&, const HeldLane&) = default;
};

// One stripe of one head, as a placement lists them. count 1: the head is not split.
struct HeadStripe {
  LaneId id;
  int index = 0;
  int count = 1;
};

// Brings the stripes of each head together, in any order given; ascending by id. INVALID_ARGUMENT
// names what no worker can hold: a stripe out of range or twice, stripes of one head that do not
// stand side by side or count differently.
absl::StatusOr<std::vector<HeldLane>> JoinStripes(std::vector<HeadStripe> stripes);

struct LaneClass {
  int policy = 0;  // index into plan.policies()
  StripeRange stripes;
  std::vector<LaneId> lanes;  // sorted; lane index = position here

  // As Plan::rule, for what the worker holds of the lanes.
  LaneRule rule(const Plan& plan, int64_t prompt_tokens) const;
};

// Classes of the given heads, ordered by policy index, then stripes; classes without lanes are left
// out. Both the coordinator (accounting) and the worker (slabs) call this, so they agree on the
// order.
std::vector<LaneClass> BuildLaneClasses(const Plan& plan, std::span<const HeldLane> heads);
std::vector<LaneClass> BuildLaneClasses(const Plan& plan, std::span<const LaneId> whole_heads);

// Bytes of one page of a class: LanePageBytes of every lane.
int64_t PageBytes(const Plan& plan, const LaneClass& lane_class, int head_dim, int element_bytes);

// What one sequence has beside its pages in this class: LaneSlotBytes of every lane.
int64_t SlotBytes(const Plan& plan, const LaneClass& lane_class, int head_dim, int element_bytes);

}  // namespace headlong
