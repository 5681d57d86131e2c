// Pages that the sequences of a cluster may hold together. All lanes of a policy hold equally many
// pages of a sequence on every worker, so the cluster's budget of a policy is that of the worker
// which reserved least, and one count serves all workers. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "cache/plan.h"
#include "headlong/v1/placement.pb.h"

namespace headlong {

struct PolicyPages {
  int policy = 0;  // index into plan.policies()
  int64_t pages = 0;
};

// Policies that some lane has, in index order, with the least reservation among the workers.
std::vector<PolicyPages> BudgetOf(const Plan& plan, const v1::Placement& placement);

class PageBudget {
 public:
  PageBudget(const Plan* plan, std::vector<PolicyPages> limits);

  // Pages of one sequence at `length` committed tokens, by limit index.
  std::vector<int64_t> Demand(int64_t length, int64_t prompt_tokens) const;
  // True when `demand` in place of `without` fits beside all that is taken.
  bool Fits(const std::vector<int64_t>& demand, const std::vector<int64_t>& without) const;
  void Take(const std::vector<int64_t>& demand);
  void Return(const std::vector<int64_t>& demand);
  void Clear();

  const std::vector<PolicyPages>& limits() const { return limits_; }
  const std::vector<int64_t>& taken() const { return taken_; }

 private:
  const Plan* plan_;
  std::vector<PolicyPages> limits_;
  std::vector<int64_t> taken_;
};

}  // namespace headlong
