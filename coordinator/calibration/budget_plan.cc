#include "coordinator/calibration/budget_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status.h"
#include "coordinator/calibration/choices.h"

namespace headlong {
namespace {

// A choice for the heads up to one, as the choice of this head and the state of those before it.
struct State {
  int64_t bytes = 0;
  double kl = 0;
  int32_t before = 0;
  int32_t option = 0;
};
using Front = std::vector<State>;  // rising bytes, falling costs

struct Limits {
  int64_t bytes = std::numeric_limits<int64_t>::max();
  double kl = std::numeric_limits<double>::infinity();
};

// The states of one more head. Of equal sums the one with the smaller option is kept, so that the
// first heads keep more.
Front Extend(const Front& front, const Options& options, const Limits& limits) {
  const auto less = [](const State& a, const State& b) {
    return std::pair(a.bytes, a.kl) < std::pair(b.bytes, b.kl);
  };
  Front merged;
  for (size_t option = 0; option < options.size(); ++option) {
    const auto middle = static_cast<int64_t>(merged.size());
    for (size_t before = 0; before < front.size(); ++before) {
      const State state{front[before].bytes + options[option].bytes,
                        front[before].kl + options[option].kl, static_cast<int32_t>(before),
                        static_cast<int32_t>(option)};
      if (state.bytes <= limits.bytes && state.kl <= limits.kl) merged.push_back(state);
    }
    std::inplace_merge(merged.begin(), merged.begin() + middle, merged.end(), less);
  }
  Front kept;
  for (const State& state : merged) {
    if (kept.empty() || state.kl < kept.back().kl) kept.push_back(state);
  }
  return kept;
}

// Of a front that is too long: the first state and the cheapest in each of equal ranges of bytes.
Front Thinned(const Front& front, int64_t most) {
  if (static_cast<int64_t>(front.size()) <= most) return front;
  const int64_t first = front.front().bytes;
  const int64_t width = (front.back().bytes - first) / (most - 1) + 1;
  Front thin{front.front()};
  for (size_t i = 1; i < front.size(); ++i) {
    const bool last_of_range = i + 1 == front.size() || (front[i].bytes - first) / width !=
                                                            (front[i + 1].bytes - first) / width;
    if (last_of_range) thin.push_back(front[i]);
  }
  return thin;
}

// All fronts are kept, to find the choices of the last one's states: 24 bytes a state.
int64_t MaxStates(int64_t heads) {
  return std::clamp(kMaxStatesInAll / heads, int64_t{256}, kMaxStates);
}

// The fronts after each head; the last is empty where nothing is within the limits.
std::vector<Front> Fronts(const std::vector<Options>& heads, const Limits& limits) {
  std::vector<int64_t> rest(heads.size() + 1, 0);  // the fewest bytes of the heads from one on
  for (size_t i = heads.size(); i-- > 0;) rest[i] = rest[i + 1] + heads[i].front().bytes;
  const int64_t most = MaxStates(static_cast<int64_t>(heads.size()));
  std::vector<Front> fronts;
  Front front{State{}};
  for (size_t i = 0; i < heads.size(); ++i) {
    front = Thinned(Extend(front, heads[i], {limits.bytes - rest[i + 1], limits.kl}), most);
    fronts.push_back(front);
  }
  return fronts;
}

Plan PlanFromState(const PlanShape& shape, const std::vector<Options>& heads,
                   const std::vector<Front>& fronts, size_t last) {
  std::vector<HeadPolicy> policies(heads.size());
  size_t at = last;
  for (size_t i = heads.size(); i-- > 0;) {
    const State& state = fronts[i][at];
    policies[i] = heads[i][state.option].policy;
    at = state.before;
  }
  return Plan::FromPolicies(shape, policies);
}

int64_t FullBytes(const PlanShape& shape, const Budget& budget) {
  return Plan::Full(shape.layers, shape.kv_heads)
      .FullSequenceBytes(budget.context, budget.head_dim, budget.element_bytes);
}

}  // namespace

absl::StatusOr<Plan> BudgetPlan(const PlanShape& shape, const std::vector<HeadCost>& costs,
                                const Budget& budget) {
  ASSIGN_OR_RETURN(const std::vector<Options> heads, OptionsByHead(shape, costs, budget));
  const auto full = static_cast<double>(FullBytes(shape, budget));
  int64_t least = 0;
  for (const Options& options : heads) least += options.front().bytes;
  // A share that was itself a quotient of bytes must let these bytes in, whatever its rounding.
  const double limit = std::min(budget.share, 1.0) * full + 0.5;
  if (!(static_cast<double>(least) <= limit)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a share of %.4f of the full cache at %d tokens cannot be met: the least is %.4f",
        budget.share, budget.context, std::ceil(static_cast<double>(least) / full * 1e4) / 1e4));
  }
  const std::vector<Front> fronts = Fronts(heads, {static_cast<int64_t>(limit)});
  return PlanFromState(shape, heads, fronts, fronts.back().size() - 1);
}

absl::StatusOr<Plan> MaxKlPlan(const PlanShape& shape, const std::vector<HeadCost>& costs,
                               const Budget& budget, double max_kl) {
  if (!(max_kl >= 0)) {
    return absl::InvalidArgumentError(absl::StrCat("max_kl: at least 0, is ", max_kl));
  }
  ASSIGN_OR_RETURN(const std::vector<Options> heads, OptionsByHead(shape, costs, budget));
  int64_t most = 0;
  for (const Options& options : heads) most += options.back().bytes;
  const std::vector<Front> fronts = Fronts(heads, {most, max_kl});
  return PlanFromState(shape, heads, fronts, 0);
}

absl::StatusOr<std::vector<CurvePoint>> CostCurve(const PlanShape& shape,
                                                  const std::vector<HeadCost>& costs,
                                                  const Budget& budget) {
  ASSIGN_OR_RETURN(const std::vector<Options> heads, OptionsByHead(shape, costs, budget));
  int64_t most = 0;
  for (const Options& options : heads) most += options.back().bytes;
  const std::vector<Front> fronts = Fronts(heads, {most});
  std::vector<CurvePoint> curve;
  for (const State& state : fronts.back()) curve.push_back({state.bytes, state.kl});
  return curve;
}

absl::StatusOr<double> PredictedKl(const std::vector<HeadCost>& costs, const Plan& plan) {
  const std::vector<HeadCost> choices = AllChoices(costs);
  double sum = 0;
  for (int layer = 0; layer < plan.layers(); ++layer) {
    for (int head = 0; head < plan.kv_heads(); ++head) {
      const HeadPolicy& policy = plan.policy(layer, head);
      if (policy.keeps_all()) continue;
      const auto cost = std::find_if(choices.begin(), choices.end(), [&](const HeadCost& entry) {
        return entry.layer == layer && entry.head == head && SameChoice(entry, policy);
      });
      if (cost == choices.end()) {
        return absl::NotFoundError(absl::StrCat(HeadName(layer, head), ": the cost of policy \"",
                                                policy.name, "\" was not measured"));
      }
      sum += std::max(cost->kl, 0.0);
    }
  }
  return sum;
}

}  // namespace headlong
