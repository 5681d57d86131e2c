#include "cache/lane_class.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cache/check.h"

namespace headlong {

using cache_internal::Check;

namespace {

absl::Status Refuse(const HeadStripe& stripe, const char* why) {
  return absl::InvalidArgumentError(absl::StrCat("placement: layer ", stripe.id.layer, " head ",
                                                 stripe.id.head, " stripe ", stripe.index, " of ",
                                                 stripe.count, ": ", why));
}

}  // namespace

absl::StatusOr<std::vector<HeldLane>> JoinStripes(std::vector<HeadStripe> stripes) {
  std::sort(stripes.begin(), stripes.end(), [](const HeadStripe& a, const HeadStripe& b) {
    return std::tie(a.id, a.index) < std::tie(b.id, b.index);
  });
  std::vector<HeldLane> held;
  for (const HeadStripe& stripe : stripes) {
    if (stripe.count > kMaxStripes) return Refuse(stripe, "too many stripes");
    if (stripe.index < 0 || stripe.index >= stripe.count) return Refuse(stripe, "no such stripe");
    if (held.empty() || held.back().id != stripe.id) {
      held.push_back({stripe.id, {.of = stripe.count, .begin = stripe.index, .count = 1}});
      continue;
    }
    StripeRange& range = held.back().stripes;
    if (range.of != stripe.count) return Refuse(stripe, "another number of stripes than before");
    const int next = range.begin + range.count;
    if (stripe.index < next) return Refuse(stripe, "held twice");
    if (stripe.index > next) return Refuse(stripe, "a worker's stripes stand side by side");
    ++range.count;
  }
  // A head whose stripes all came together is whole.
  for (HeldLane& lane : held) {
    if (lane.stripes.whole()) lane.stripes = {};
  }
  return held;
}

LaneRule LaneClass::rule(const Plan& plan, int64_t prompt_tokens) const {
  LaneRule rule = plan.rule(policy, prompt_tokens);
  rule.stripes = stripes;
  return rule;
}

std::vector<LaneClass> BuildLaneClasses(const Plan& plan, std::span<const HeldLane> heads) {
  std::map<std::pair<int, StripeRange>, std::vector<LaneId>> lanes;
  for (const auto& [id, stripes] : heads) {
    Check(id.layer >= 0 && id.layer < plan.layers() && id.head >= 0 && id.head < plan.kv_heads(),
          "a share's heads are heads of the plan");
    Check(stripes.whole() || plan.policy(id.layer, id.head).full(), "local lanes are not split");
    lanes[{plan.policy_index(id.layer, id.head), stripes}].push_back(id);
  }
  std::vector<LaneClass> classes;
  for (auto& [key, ids] : lanes) {
    std::sort(ids.begin(), ids.end());
    Check(std::adjacent_find(ids.begin(), ids.end()) == ids.end(), "a share holds a head once");
    classes.push_back({key.first, key.second, std::move(ids)});
  }
  return classes;
}

std::vector<LaneClass> BuildLaneClasses(const Plan& plan, std::span<const LaneId> whole_heads) {
  std::vector<HeldLane> heads;
  for (const LaneId& id : whole_heads) heads.push_back({id, {}});
  return BuildLaneClasses(plan, std::span<const HeldLane>(heads));
}

int64_t PageBytes(const Plan& plan, const LaneClass& lane_class, int head_dim, int element_bytes) {
  return static_cast<int64_t>(lane_class.lanes.size()) *
         LanePageBytes(plan.rule(lane_class.policy, /*prompt_tokens=*/0), head_dim, element_bytes);
}

int64_t SlotBytes(const Plan& plan, const LaneClass& lane_class, int head_dim, int element_bytes) {
  return static_cast<int64_t>(lane_class.lanes.size()) *
         LaneSlotBytes(plan.rule(lane_class.policy, /*prompt_tokens=*/0), head_dim, element_bytes);
}

}  // namespace headlong
