#include "coordinator/page_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/coordinator/placement_case.h"

namespace headlong {
namespace {

using testing::ElementsAre;

constexpr int64_t kPlenty = 256 << 20;

class Budget : public testing::Test {
 protected:
  const ModelConfig config_ = SmallModel();
  const Plan plan_ = SmallPlan();
  const int local_ = plan_.policy_index(0, 0);
  const int full_ = plan_.policy_index(1, 0);
};

// The worker with the least reservation of a policy decides, whatever its class order is.
TEST_F(Budget, IsThatOfTheWorkerThatReservedLeast) {
  PlacementProblem problem = SmallProblem(config_, plan_, {kPlenty, kPlenty, kPlenty});
  problem.stripes = false;
  auto placement = Place(problem);
  ASSERT_TRUE(placement.ok()) << placement.status();
  ASSERT_EQ(plan_.policies()[0].name, "local");
  // Only retrieval heads on the second worker: its first class is another one.
  v1::WorkerShare& second = *placement->mutable_workers(1);
  second.clear_heads();
  second.clear_class_pages();
  v1::HeadShare& head = *second.add_heads();
  head.set_layer(2);
  head.set_head(1);
  head.set_stripe_count(1);
  second.add_class_pages(7);
  const std::vector<ClassPages> budget = BudgetOf(plan_, *placement);
  ASSERT_EQ(budget.size(), 2u);
  EXPECT_EQ(budget[0].policy, local_);
  EXPECT_EQ(budget[0].pages,
            4 * PagesReserved(plan_.rule(local_, problem.max_context), problem.max_context));
  EXPECT_EQ(budget[1].policy, full_);
  EXPECT_EQ(budget[1].pages, 7);
}

TEST_F(Budget, WorkersWithoutHeadsLimitNothing) {
  auto placement = Place(SmallProblem(config_, plan_, {kPlenty}));
  ASSERT_TRUE(placement.ok());
  const auto before = BudgetOf(plan_, *placement);
  placement->add_workers();
  const auto after = BudgetOf(plan_, *placement);
  ASSERT_EQ(after.size(), before.size());
  for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(after[i].pages, before[i].pages);
}

TEST_F(Budget, DemandGrowsByPagesAndLocalOnesAreBounded) {
  const PageBudget budget(&plan_, {{local_, {}, 100}, {full_, {}, 100}});
  EXPECT_THAT(budget.Demand(0, 10), ElementsAre(0, 0));
  EXPECT_THAT(budget.Demand(1, 10), ElementsAre(1, 1));
  EXPECT_THAT(budget.Demand(64, 10), ElementsAre(4, 1));
  EXPECT_THAT(budget.Demand(65, 10)[1], 2);
  EXPECT_EQ(budget.Demand(4096, 10)[1], 64);
  EXPECT_LE(budget.Demand(4096, 10)[0], PagesReserved(plan_.rule(local_, 10), 4096));
}

TEST_F(Budget, TakesReturnsAndReplaces) {
  PageBudget budget(&plan_, {{local_, {}, 10}, {full_, {}, 3}});
  const std::vector<int64_t> none{0, 0};
  EXPECT_TRUE(budget.Fits({10, 3}, none));
  EXPECT_FALSE(budget.Fits({11, 0}, none));
  EXPECT_FALSE(budget.Fits({0, 4}, none));
  budget.Take({6, 2});
  EXPECT_FALSE(budget.Fits({5, 0}, none));
  EXPECT_TRUE(budget.Fits({5, 0}, {6, 2})) << "in place of what it holds";
  budget.Take({4, 1});
  budget.Return({6, 2});
  EXPECT_THAT(budget.taken(), ElementsAre(4, 1));
  budget.Clear();
  EXPECT_THAT(budget.taken(), ElementsAre(0, 0));
}

}  // namespace
}  // namespace headlong
