// What may be chosen for each head, out of what was measured of it. Pure; for the files that choose
// (budget_plan.h, plan_steps.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/calibration/budget_plan.h"

namespace headlong {

struct Option {
  HeadPolicy policy;
  int64_t bytes = 0;
  double kl = 0;
};
using Options = std::vector<Option>;  // of one head: rising bytes, falling costs

// What was measured, and a head's choices together that were measured apart.
std::vector<HeadCost> AllChoices(const std::vector<HeadCost>& costs);

// Whether `policy` is the choice, whatever its name.
bool SameChoice(const HeadCost& cost, const HeadPolicy& policy);

// By layer * kv_heads + head: keeping everything, and what no other option beats. Errors as
// BudgetPlan's.
absl::StatusOr<std::vector<Options>> OptionsByHead(const PlanShape& shape,
                                                   const std::vector<HeadCost>& costs,
                                                   const Budget& budget);

std::string HeadName(int layer, int head);  // for errors

}  // namespace headlong
