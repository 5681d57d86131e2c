// The plan that costs least within a budget of bytes, or takes the fewest bytes within a cost.
// Pure.
//
// A multiple-choice knapsack: a head keeps everything, which costs nothing, or takes one of the
// choices that were measured for it. Costs of heads are taken to add up.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/plan.h"
#include "coordinator/calibration/evidence.h"

namespace headlong {

// Where bytes are counted: Plan::SequenceBytes of a prompt of `context` tokens, as a share of
// Plan::FullSequenceBytes.
struct Budget {
  int64_t context = 0;
  int head_dim = 0;
  int element_bytes = 0;
  double share = 1;
};

// The least sum of costs with bytes <= share * full bytes. Exact while no more states than
// kMaxStates, and kMaxStatesInAll over the heads, are on the front of bytes and cost; beyond that
// the front is thinned evenly over bytes, so a plan may cost a little more than the least.
// Deterministic: of plans that cost the same, the one with fewer bytes; of those, the one whose
// first heads keep more. Costs below 0 count as 0. INVALID_ARGUMENT: a cost that is of no head of
// the shape, has no window, is not finite or stands twice; a budget that no choice of policies
// meets (it names the least share that can be met).
absl::StatusOr<Plan> BudgetPlan(const PlanShape& shape, const std::vector<HeadCost>& costs,
                                const Budget& budget);

// The fewest bytes at budget.context with a sum of costs of at most `max_kl` >= 0; budget.share is
// not looked at. Otherwise as BudgetPlan.
absl::StatusOr<Plan> MaxKlPlan(const PlanShape& shape, const std::vector<HeadCost>& costs,
                               const Budget& budget, double max_kl);

// What plans of every size cost at best: rising bytes, falling sums of costs. The first has the
// fewest bytes that the choices allow, the last costs nothing.
struct CurvePoint {
  int64_t bytes = 0;
  double kl = 0;
};
absl::StatusOr<std::vector<CurvePoint>> CostCurve(const PlanShape& shape,
                                                  const std::vector<HeadCost>& costs,
                                                  const Budget& budget);

// The sum of the costs of `plan`'s choices; a head that keeps everything costs nothing. NOT_FOUND
// names a head whose choice was not measured.
absl::StatusOr<double> PredictedKl(const std::vector<HeadCost>& costs, const Plan& plan);

inline constexpr int64_t kMaxStates = int64_t{1} << 16;       // of one head
inline constexpr int64_t kMaxStatesInAll = int64_t{1} << 22;  // of all heads: 100 MB

}  // namespace headlong
