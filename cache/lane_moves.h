// Which pages of which lanes go from one worker to another when a placement takes the place of
// another one. Pure, the same on every process that knows both placements. A page is the same bytes
// wherever it lies.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/lane_class.h"
#include "cache/plan.h"
#include "cache/policy.h"

namespace headlong {

// Of every sequence: the pages of the lane that both hold, `from` now and `to` from now on, and
// with its first page what it has beside them (LaneSlotBytes). The two may be the same worker.
struct LaneMove {
  LaneId lane;
  int from = 0;  // index of a worker
  int to = 0;
  StripeRange held = {};    // by `from`
  StripeRange wanted = {};  // by `to`
  friend bool operator==(const LaneMove&, const LaneMove&) = default;
};

// `from`, `to`: what each worker holds, before and after; the same workers in both. Ascending by
// lane, from, to. REQUIRES: both placements cover the same heads.
std::vector<LaneMove> LaneMoves(std::span<const std::vector<HeldLane>> from,
                                std::span<const std::vector<HeldLane>> to);

// The lane's page numbers (position / page_tokens) that the move takes along, ascending, of a
// sequence with `committed` positions. `rule`: of the whole lane. May be none.
std::vector<int64_t> PagesMoved(const LaneMove& move, const LaneRule& rule, int64_t committed);

// Bytes of these pages and of what goes with the first, of one sequence.
struct ElementShape {
  int head_dim = 0;
  int element_bytes = 0;
};
int64_t PageBytesOf(const LaneRule& rule, const ElementShape& shape);  // one lane, K and V
int64_t SlotBytesOf(const LaneMove& move, const LaneRule& rule, const ElementShape& shape);
int64_t BytesMoved(const LaneMove& move, const LaneRule& rule, int64_t committed,
                   const ElementShape& shape);

// The rule of the whole lane.
LaneRule RuleOf(const Plan& plan, LaneId lane, int64_t prompt_tokens);

}  // namespace headlong
