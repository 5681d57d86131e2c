#include "cache/lane_moves.h"

#include <map>

#include "cache/check.h"

namespace headlong {
namespace {

struct Holder {
  int worker = 0;
  StripeRange stripes;
};

std::map<LaneId, std::vector<Holder>> HoldersOf(std::span<const std::vector<HeldLane>> workers) {
  std::map<LaneId, std::vector<Holder>> holders;
  for (size_t worker = 0; worker < workers.size(); ++worker) {
    for (const HeldLane& lane : workers[worker]) {
      holders[lane.id].push_back({static_cast<int>(worker), lane.stripes});
    }
  }
  return holders;
}

}  // namespace

std::vector<LaneMove> LaneMoves(std::span<const std::vector<HeldLane>> from,
                                std::span<const std::vector<HeldLane>> to) {
  cache_internal::Check(from.size() == to.size(), "the workers of both placements");
  const std::map<LaneId, std::vector<Holder>> takers = HoldersOf(to);
  std::vector<LaneMove> moves;
  for (const auto& [lane, givers] : HoldersOf(from)) {
    const auto wanted = takers.find(lane);
    cache_internal::Check(wanted != takers.end(), "a lane is held before and after");
    for (const Holder& giver : givers) {
      for (const Holder& taker : wanted->second) {
        moves.push_back({lane, giver.worker, taker.worker, giver.stripes, taker.stripes});
      }
    }
  }
  return moves;
}

std::vector<int64_t> PagesMoved(const LaneMove& move, const LaneRule& rule, int64_t committed) {
  const HeldPages held = HeldPagesAt(rule, committed);
  std::vector<int64_t> pages;
  for (int64_t page = 0; page < held.sink_end; ++page) pages.push_back(page);
  for (int64_t page = held.window_begin; page < held.end; ++page) {
    if (rule.full && !(move.held.Owns(page) && move.wanted.Owns(page))) continue;
    pages.push_back(page);
  }
  return pages;
}

int64_t PageBytesOf(const LaneRule& rule, const ElementShape& shape) {
  return LanePageBytes(rule, shape.head_dim, shape.element_bytes);
}

int64_t SlotBytesOf(const LaneMove& move, const LaneRule& rule, const ElementShape& shape) {
  const bool first_page = !rule.full || (move.held.Owns(0) && move.wanted.Owns(0));
  return first_page ? LaneSlotBytes(rule, shape.head_dim, shape.element_bytes) : 0;
}

int64_t BytesMoved(const LaneMove& move, const LaneRule& rule, int64_t committed,
                   const ElementShape& shape) {
  const int64_t pages = std::ssize(PagesMoved(move, rule, committed));
  return pages * PageBytesOf(rule, shape) + SlotBytesOf(move, rule, shape);
}

LaneRule RuleOf(const Plan& plan, LaneId lane, int64_t prompt_tokens) {
  return plan.rule(plan.policy_index(lane.layer, lane.head), prompt_tokens);
}

}  // namespace headlong
