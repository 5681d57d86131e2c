// Small changes to a whole plan that are worth measuring. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/calibration/budget_plan.h"

namespace headlong {

// At most `most` plans in which one head has more bytes than in `plan` and another one fewer, or
// one head alone has other ones, of at most `max_bytes` in all: those first that should cost least.
// Errors as of BudgetPlan.
absl::StatusOr<std::vector<Plan>> PlanSteps(const PlanShape& shape,
                                            const std::vector<HeadCost>& costs,
                                            const Budget& budget, const Plan& plan,
                                            int64_t max_bytes, int most);

}  // namespace headlong
