#include "coordinator/calibration/plan_steps.h"

#include <gtest/gtest.h>

#include <set>

namespace headlong {
namespace {

const PlanShape kShape{1, 3};
const Budget kBudget{4096, 64, 2, 1.0};

// Three heads with a window, codes and a rank to choose from.
std::vector<HeadCost> Costs() {
  std::vector<HeadCost> costs;
  for (int head = 0; head < 3; ++head) {
    const double dear = head + 1;
    costs.push_back({0, head, 4, 64, true, 0.5 * dear});
    costs.push_back({0, head, 4, 0, true, 0.01 * dear, {Storage::kInt8, Storage::kInt8}, {}, {}});
    costs.push_back({0, head, 0, 0, true, 0.1 * dear, {}, {32, 48}, {}});
  }
  return costs;
}

int64_t Bytes(const Plan& plan) { return plan.SequenceBytes(4096, 4096, 64, 2); }

TEST(PlanSteps, ChangeOneHeadOrTwoWithinTheBytesCheapestFirst) {
  Budget budget = kBudget;
  budget.share = 0.4;
  const Plan plan = BudgetPlan(kShape, Costs(), budget).value();
  const double now = PredictedKl(Costs(), plan).value();
  const auto steps = PlanSteps(kShape, Costs(), kBudget, plan, Bytes(plan), 20);
  ASSERT_TRUE(steps.ok()) << steps.status();
  ASSERT_EQ(steps->size(), 20u);
  std::set<std::string> seen;
  double before = 0;
  for (const Plan& step : *steps) {
    EXPECT_LE(Bytes(step), Bytes(plan));
    int changed = 0;
    for (int head = 0; head < 3; ++head) {
      changed += step.policy(0, head) == plan.policy(0, head) ? 0 : 1;
    }
    EXPECT_TRUE(changed == 1 || changed == 2) << step.ToJson();
    EXPECT_TRUE(seen.insert(step.ToJson()).second) << "twice: " << step.ToJson();
    const double kl = PredictedKl(Costs(), step).value();
    EXPECT_GE(kl, now - 1e-12) << "the plan was the best of all";
    EXPECT_GE(kl, before - 1e-12);
    before = kl;
  }
  EXPECT_EQ(PlanSteps(kShape, Costs(), kBudget, plan, Bytes(plan), 3)->size(), 3u);
}

TEST(PlanSteps, TheFirstOfManyAreThoseOfAll) {
  const PlanShape many{8, 8};
  std::vector<HeadCost> costs;
  for (int i = 0; i < 64; ++i) {
    for (const int64_t window : {64, 256, 1024}) {
      costs.push_back(
          {i / 8, i % 8, 4, window, true, (1 + i * 7 % 32) / static_cast<double>(window)});
    }
  }
  Budget budget = kBudget;
  budget.share = 0.4;
  const Plan plan = BudgetPlan(many, costs, budget).value();
  const auto all = PlanSteps(many, costs, kBudget, plan, Bytes(plan), 100000).value();
  ASSERT_GT(all.size(), 2000u);
  const auto first = PlanSteps(many, costs, kBudget, plan, Bytes(plan), 20).value();
  ASSERT_EQ(first.size(), 20u);
  for (size_t i = 0; i < first.size(); ++i) EXPECT_EQ(first[i].ToJson(), all[i].ToJson()) << i;
}

TEST(PlanSteps, AHeadWithAnotherPolicyThanWasMeasuredStaysAsItIs) {
  HeadPolicy full;
  full.name = "full";
  std::vector<HeadPolicy> policies(3, full);
  policies[1].name = "odd";
  policies[1].window_tokens = 100;
  const Plan plan = Plan::FromPolicies(kShape, policies);
  const auto steps = PlanSteps(kShape, Costs(), kBudget, plan, Bytes(plan), 1000);
  ASSERT_TRUE(steps.ok());
  for (const Plan& step : *steps) EXPECT_EQ(step.policy(0, 1), plan.policy(0, 1));
}

TEST(BudgetPlan, JoinsDialsThatWereMeasuredApart) {
  const PlanShape one{1, 1};
  std::vector<HeadCost> costs = Costs();
  costs.resize(3);
  std::set<std::string> names;
  const auto curve = CostCurve(one, costs, kBudget).value();
  for (const CurvePoint& point : curve) {
    Budget budget = kBudget;
    budget.share = static_cast<double>(point.bytes) /
                   static_cast<double>(Plan::Full(1, 1).FullSequenceBytes(4096, 64, 2));
    const Plan plan = BudgetPlan(one, costs, budget).value();
    names.insert(plan.policies()[0].name);
    EXPECT_NEAR(PredictedKl(costs, plan).value(), point.kl, 1e-12);
  }
  EXPECT_TRUE(names.contains("local-4-64-rank-32/48-int8")) << testing::PrintToString(names);
  EXPECT_TRUE(names.contains("retrieval-4-rank-32/48-int8")) << testing::PrintToString(names);
}

TEST(BudgetPlan, CodesThatWereTurnedGoWithARankUnturned) {
  const std::vector<HeadCost> costs{
      {0, 0, 4, 0, true, 0.01, {Storage::kInt4, Storage::kInt4}, {}, Rotation::kHadamard},
      {0, 0, 0, 0, true, 0.1, {}, {32, 32}, {}}};
  Budget budget = kBudget;
  budget.share = 0.15;
  const Plan plan = BudgetPlan({1, 1}, costs, budget).value();
  EXPECT_EQ(plan.policies()[0].name, "retrieval-4-rank-32-int4");
  EXPECT_EQ(plan.policies()[0].rotation, Rotation::kNone);
  EXPECT_NEAR(PredictedKl(costs, plan).value(), 0.11, 1e-12);
}

}  // namespace
}  // namespace headlong
