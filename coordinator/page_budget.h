// Pages that the sequences of a cluster may hold together. All lanes of a policy and of the same
// stripes hold equally many pages of a sequence on every worker, so the cluster's budget of such a
// class is that of the worker which reserved least, and one count serves all workers. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "cache/plan.h"
#include "cache/stripes.h"
#include "headlong/v1/placement.pb.h"

namespace headlong {

struct ClassPages {
  int policy = 0;  // index into plan.policies()
  StripeRange stripes = {};
  int64_t pages = 0;
};

// Classes that some lane has, by policy and stripes, with the least reservation among the workers.
// REQUIRES: the placement is one that Place made.
std::vector<ClassPages> BudgetOf(const Plan& plan, const v1::Placement& placement);

class PageBudget {
 public:
  PageBudget(const Plan* plan, std::vector<ClassPages> limits);

  // Pages of one sequence at `length` committed tokens, by limit index.
  std::vector<int64_t> Demand(int64_t length, int64_t prompt_tokens) const;
  // True when `demand` in place of `without` fits beside all that is taken.
  bool Fits(const std::vector<int64_t>& demand, const std::vector<int64_t>& without) const;
  void Take(const std::vector<int64_t>& demand);
  void Return(const std::vector<int64_t>& demand);
  void Clear();

  const std::vector<ClassPages>& limits() const { return limits_; }
  const std::vector<int64_t>& taken() const { return taken_; }

 private:
  const Plan* plan_;
  std::vector<ClassPages> limits_;
  std::vector<int64_t> taken_;
};

}  // namespace headlong
