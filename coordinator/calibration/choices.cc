#include "coordinator/calibration/choices.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace headlong {
namespace {

HeadPolicy RetrievalPolicy() {
  HeadPolicy policy;
  policy.name = "retrieval";
  return policy;
}

bool IsWindow(const HeadCost& cost) { return cost.window_tokens > 0; }

// "local-4-256", "local-4-256-none": sinks, window, no compensation token; with codes
// "local-4-256-int8", "retrieval-4-int8/int4", of which 4 tokens stay plain.
HeadPolicy PolicyOf(const HeadCost& cost) {
  HeadPolicy policy = RetrievalPolicy();
  if (IsWindow(cost)) {
    policy.name = absl::StrCat("local-", cost.sinks, "-", cost.window_tokens,
                               cost.compensation ? "" : "-none");
    policy.window_tokens = cost.window_tokens;
    policy.compensation = cost.compensation ? Compensation::kMean : Compensation::kNone;
  }
  policy.sinks = cost.sinks;
  policy.storage = cost.storage;
  policy.rank = cost.rank;
  policy.rotation = cost.rotation;
  if (policy.full()) absl::StrAppend(&policy.name, "-", cost.sinks);
  if (cost.rank.projected()) absl::StrAppend(&policy.name, "-rank-", LaneRankName(cost.rank));
  if (cost.rotation == Rotation::kHadamard) policy.name += "-hadamard";
  if (cost.storage.named()) absl::StrAppend(&policy.name, "-", LaneStorageName(cost.storage));
  return policy;
}

// Of two choices what the second adds to the first, at the cost of both.
HeadCost Both(HeadCost one, const HeadCost& other) {
  if (IsWindow(other)) {
    one.window_tokens = other.window_tokens;
    one.compensation = other.compensation;
    one.sinks = other.sinks;
  }
  if (other.storage.named()) {
    one.storage = other.storage;
    one.sinks = std::max(one.sinks, other.sinks);
  }
  if (other.rotation != Rotation::kNone) one.rotation = other.rotation;
  if (other.rank.projected()) one.rank = other.rank;
  if (one.rank.projected()) one.rotation = Rotation::kNone;  // projections rotate by themselves
  one.kl = std::max(one.kl, 0.0) + std::max(other.kl, 0.0);
  return one;
}

bool SamePolicy(const HeadCost& a, HeadCost b) {
  b.kl = a.kl;
  return a == b;
}

// Which of the dials a choice turns. Bits.
enum Dials { kWindow = 1, kCodes = 2, kRank = 4 };
int DialsOf(const HeadCost& cost) {
  const bool codes = cost.storage.named() || cost.rotation != Rotation::kNone;
  return (IsWindow(cost) ? kWindow : 0) | (codes ? kCodes : 0) |
         (cost.rank.projected() ? kRank : 0);
}

// What was measured of one head, and every union of choices of different dials that was not.
std::vector<HeadCost> WithUnions(const std::vector<HeadCost>& measured) {
  std::vector<HeadCost> choices = measured;
  for (const int dial : {kWindow, kCodes, kRank}) {
    const size_t count = choices.size();
    for (const HeadCost& one : measured) {
      if (DialsOf(one) != dial) continue;
      for (size_t i = 0; i < count; ++i) {
        if (DialsOf(choices[i]) >= dial) continue;
        const HeadCost both = Both(choices[i], one);
        const auto same = [&](const HeadCost& other) { return SamePolicy(other, both); };
        if (std::none_of(choices.begin(), choices.end(), same)) choices.push_back(both);
      }
    }
  }
  return choices;
}

}  // namespace

std::vector<HeadCost> AllChoices(const std::vector<HeadCost>& costs) {
  std::map<std::pair<int, int>, std::vector<HeadCost>> heads;
  for (const HeadCost& cost : costs) heads[{cost.layer, cost.head}].push_back(cost);
  std::vector<HeadCost> choices;
  for (const auto& [head, measured] : heads) {
    const std::vector<HeadCost> all = WithUnions(measured);
    choices.insert(choices.end(), all.begin(), all.end());
  }
  return choices;
}

bool SameChoice(const HeadCost& cost, const HeadPolicy& policy) {
  HeadPolicy choice = PolicyOf(cost);
  choice.name = policy.name;
  return choice == policy;
}

std::string HeadName(int layer, int head) { return absl::StrCat("layer ", layer, " head ", head); }

namespace {

absl::Status CheckCost(const HeadCost& cost, const PlanShape& shape) {
  const auto refuse = [&](const std::string& why) {
    return absl::InvalidArgumentError(
        absl::StrCat("cost of ", HeadName(cost.layer, cost.head), ": ", why));
  };
  if (cost.layer < 0 || cost.layer >= shape.layers || cost.head < 0 ||
      cost.head >= shape.kv_heads) {
    return refuse(absl::StrCat("the model has ", shape.layers, " layers of ", shape.kv_heads));
  }
  if (cost.sinks < 0) return refuse(absl::StrCat("sinks: at least 0, is ", cost.sinks));
  if (cost.window_tokens < 0 || DialsOf(cost) == 0) {
    return refuse(absl::StrCat("window_tokens: at least 1, is ", cost.window_tokens));
  }
  if (!std::isfinite(cost.kl)) return refuse("kl: must be finite");
  return absl::OkStatus();
}

// Bytes of one head's lane in every layer under `policy`, as the model's windows bound it.
std::vector<int64_t> BytesByLayer(const HeadPolicy& policy, const PlanShape& shape,
                                  const Budget& budget) {
  const std::vector<HeadPolicy> all(static_cast<size_t>(shape.layers) * shape.kv_heads, policy);
  const Plan plan = Plan::FromPolicies(shape, all).BoundedBy(shape.layer_windows);
  std::vector<int64_t> bytes;
  for (int layer = 0; layer < shape.layers; ++layer) {
    bytes.push_back(LaneBytes(plan.rule(plan.policy_index(layer, 0), budget.context),
                              budget.context, budget.head_dim, budget.element_bytes));
  }
  return bytes;
}

// Leaves out what another option beats in bytes and in cost.
void KeepFront(Options& options) {
  std::stable_sort(options.begin(), options.end(), [](const Option& a, const Option& b) {
    return std::pair(a.bytes, a.kl) < std::pair(b.bytes, b.kl);
  });
  Options front;
  for (Option& option : options) {
    if (front.empty() || option.kl < front.back().kl) front.push_back(std::move(option));
  }
  options = std::move(front);
}

}  // namespace

absl::StatusOr<std::vector<Options>> OptionsByHead(const PlanShape& shape,
                                                   const std::vector<HeadCost>& costs,
                                                   const Budget& budget) {
  std::vector<Options> heads(static_cast<size_t>(shape.layers) * shape.kv_heads);
  const std::vector<int64_t> full = BytesByLayer(RetrievalPolicy(), shape, budget);
  for (size_t i = 0; i < heads.size(); ++i) {
    heads[i].push_back({RetrievalPolicy(), full[i / shape.kv_heads], 0});
  }
  for (const HeadCost& cost : costs) RETURN_IF_ERROR(CheckCost(cost, shape));
  std::vector<std::pair<HeadPolicy, std::vector<int64_t>>> sizes;
  for (const HeadCost& cost : AllChoices(costs)) {
    const HeadPolicy policy = PolicyOf(cost);
    auto size = std::find_if(sizes.begin(), sizes.end(),
                             [&](const auto& entry) { return entry.first == policy; });
    if (size == sizes.end()) {
      sizes.emplace_back(policy, BytesByLayer(policy, shape, budget));
      size = std::prev(sizes.end());
    }
    Options& options = heads[cost.layer * shape.kv_heads + cost.head];
    if (std::any_of(options.begin(), options.end(),
                    [&](const Option& other) { return other.policy == size->first; })) {
      return absl::InvalidArgumentError(absl::StrCat("cost of ", HeadName(cost.layer, cost.head),
                                                     ": ", size->first.name, " stands twice"));
    }
    options.push_back({size->first, size->second[cost.layer], std::max(cost.kl, 0.0)});
  }
  for (Options& options : heads) KeepFront(options);
  return heads;
}

}  // namespace headlong
