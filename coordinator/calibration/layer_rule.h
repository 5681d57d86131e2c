// SqueezeAttention's choice (Wang et al. 2024, arXiv 2404.04793): layers whose attention changes
// the residual stream least get smaller windows, the others what that frees. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "cache/plan.h"
#include "coordinator/calibration/budget_plan.h"

namespace headlong {

// The group of every value, by rising means, out of at most three: those with the least sum of
// squared distances to the means of their groups. Exact. Fewer than three distinct values make as
// many groups.
std::vector<int> ThreeMeans(const std::vector<double>& values);

struct LayerRule {
  double kept = 0.4;  // of the window in layers of the most similar group
};

// `plan` with the windows of its local heads moved between layers, at no more bytes of
// budget.context tokens; budget.share is not looked at. Windows are multiples of 16.
// similarity: by layer, the mean cosine of the residual stream before and after attention.
// REQUIRES: the local heads of `plan` have equal policies.
Plan WithWindowsByLayer(const PlanShape& shape, const Plan& plan,
                        const std::vector<double>& similarity, const Budget& budget,
                        const LayerRule& rule);

// Every head local with so many sinks and the widest window, a multiple of 16, of at most
// `max_bytes`; with a window of 16 where that takes more.
Plan LocalWithin(const PlanShape& shape, const Budget& budget, int sinks, int64_t max_bytes);

}  // namespace headlong
