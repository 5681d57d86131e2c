#include "coordinator/page_budget.h"

#include <algorithm>
#include <map>
#include <utility>

#include "cache/lane_class.h"
#include "coordinator/held_lanes.h"

namespace headlong {

std::vector<ClassPages> BudgetOf(const Plan& plan, const v1::Placement& placement) {
  std::map<std::pair<int, StripeRange>, int64_t> least;
  for (const v1::WorkerShare& worker : placement.workers()) {
    const std::vector<LaneClass> classes = BuildLaneClasses(plan, HeldLanesOf(worker));
    for (size_t i = 0; i < classes.size(); ++i) {
      const int64_t pages = worker.class_pages(static_cast<int>(i));
      const auto [entry, is_new] =
          least.try_emplace({classes[i].policy, classes[i].stripes}, pages);
      entry->second = std::min(entry->second, pages);
    }
  }
  std::vector<ClassPages> budget;
  for (const auto& [key, pages] : least) budget.push_back({key.first, key.second, pages});
  return budget;
}

PageBudget::PageBudget(const Plan* plan, std::vector<ClassPages> limits)
    : plan_(plan), limits_(std::move(limits)), taken_(limits_.size(), 0) {}

std::vector<int64_t> PageBudget::Demand(int64_t length, int64_t prompt_tokens) const {
  std::vector<int64_t> demand(limits_.size(), 0);
  for (size_t i = 0; i < limits_.size(); ++i) {
    LaneRule rule = plan_->rule(limits_[i].policy, prompt_tokens);
    rule.stripes = limits_[i].stripes;
    demand[i] = PagesHeld(rule, length);
  }
  return demand;
}

bool PageBudget::Fits(const std::vector<int64_t>& demand,
                      const std::vector<int64_t>& without) const {
  for (size_t i = 0; i < limits_.size(); ++i) {
    if (taken_[i] - without[i] + demand[i] > limits_[i].pages) return false;
  }
  return true;
}

void PageBudget::Take(const std::vector<int64_t>& demand) {
  for (size_t i = 0; i < demand.size(); ++i) taken_[i] += demand[i];
}

void PageBudget::Return(const std::vector<int64_t>& demand) {
  for (size_t i = 0; i < demand.size(); ++i) taken_[i] -= demand[i];
}

void PageBudget::Clear() { std::fill(taken_.begin(), taken_.end(), 0); }

}  // namespace headlong
