// The optimiser against every plan there is, on small instances; and what it does on large ones.
#include "coordinator/calibration/budget_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace headlong {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kContext = 4096;
const Budget kWhole{kContext, 64, 2, 1.0};

int64_t Bytes(const Plan& plan, const PlanShape& shape = {}) {
  return plan.BoundedBy(shape.layer_windows).SequenceBytes(kContext, kContext, 64, 2);
}
int64_t FullBytes(const Plan& plan) { return plan.FullSequenceBytes(kContext, 64, 2); }

struct Best {
  double kl = std::numeric_limits<double>::infinity();
  int64_t bytes = std::numeric_limits<int64_t>::max();
};

// Calls visit(plan, kl) for every plan that the costs allow.
template <typename Visit>
void EveryPlan(const PlanShape& shape, const std::vector<HeadCost>& costs, const Visit& visit) {
  const int heads = shape.layers * shape.kv_heads;
  std::vector<std::vector<const HeadCost*>> options(heads, {nullptr});
  for (const HeadCost& cost : costs) {
    options[cost.layer * shape.kv_heads + cost.head].push_back(&cost);
  }
  std::vector<size_t> at(heads, 0);
  while (true) {
    std::vector<HeadPolicy> policies(heads);
    double kl = 0;
    for (int i = 0; i < heads; ++i) {
      const HeadCost* cost = options[i][at[i]];
      policies[i].name = "full";
      if (cost == nullptr) continue;
      policies[i].name = std::to_string(cost->window_tokens) + (cost->compensation ? "c" : "n");
      policies[i].window_tokens = cost->window_tokens;
      policies[i].sinks = cost->sinks;
      policies[i].compensation = cost->compensation ? Compensation::kMean : Compensation::kNone;
      kl += cost->kl;
    }
    visit(Plan::FromPolicies(shape, policies), kl);
    int i = 0;
    while (i < heads && ++at[i] == options[i].size()) at[i++] = 0;
    if (i == heads) return;
  }
}

std::vector<HeadCost> RandomCosts(const PlanShape& shape, std::mt19937& random) {
  std::vector<HeadCost> costs;
  std::uniform_int_distribution<int> small(0, 3);
  for (int layer = 0; layer < shape.layers; ++layer) {
    for (int head = 0; head < shape.kv_heads; ++head) {
      for (const int64_t window : {64, 256, 1024}) {
        if (small(random) == 0) continue;
        // Few different costs, so that many plans tie.
        costs.push_back({layer, head, 4, window, small(random) > 0, 0.125 * small(random)});
      }
    }
  }
  return costs;
}

TEST(BudgetPlan, IsTheBestOfEveryPlan) {
  std::mt19937 random(1);
  int refused = 0;
  for (int instance = 0; instance < 60; ++instance) {
    PlanShape shape{1 + instance % 3, 2};
    if (instance % 5 == 0) shape.layer_windows.assign(shape.layers, 0);
    if (instance % 5 == 0) shape.layer_windows[0] = 512;
    const std::vector<HeadCost> costs = RandomCosts(shape, random);
    Budget budget = kWhole;
    budget.share = std::uniform_real_distribution<double>(0.02, 0.9)(random);
    const double max_kl = 0.125 * std::uniform_int_distribution<int>(0, 6)(random);
    const auto limit = static_cast<int64_t>(
        budget.share * FullBytes(Plan::Full(shape.layers, shape.kv_heads)) + 0.5);
    Best cheapest, smallest;
    EveryPlan(shape, costs, [&](const Plan& plan, double kl) {
      const int64_t bytes = Bytes(plan, shape);
      if (bytes <= limit && std::pair(kl, bytes) < std::pair(cheapest.kl, cheapest.bytes)) {
        cheapest = {kl, bytes};
      }
      if (kl <= max_kl && std::pair(bytes, kl) < std::pair(smallest.bytes, smallest.kl)) {
        smallest = {kl, bytes};
      }
    });
    const auto plan = BudgetPlan(shape, costs, budget);
    if (cheapest.bytes == std::numeric_limits<int64_t>::max()) {
      EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
      ++refused;
    } else {
      ASSERT_TRUE(plan.ok()) << plan.status();
      EXPECT_EQ(PredictedKl(costs, *plan).value(), cheapest.kl);
      EXPECT_EQ(Bytes(*plan, shape), cheapest.bytes);
    }
    const Plan least = MaxKlPlan(shape, costs, kWhole, max_kl).value();
    EXPECT_EQ(Bytes(least, shape), smallest.bytes);
    EXPECT_EQ(PredictedKl(costs, least).value(), smallest.kl);
  }
  EXPECT_GT(refused, 0);
  EXPECT_LT(refused, 30);
}

TEST(BudgetPlan, WindowsAndCodesAreChosenTogether) {
  std::mt19937 random(2);
  const PlanShape shape{2, 2};
  const LaneStorage int8{Storage::kInt8, Storage::kInt8}, mixed{Storage::kInt8, Storage::kInt4};
  for (int instance = 0; instance < 30; ++instance) {
    std::vector<HeadCost> costs = RandomCosts(shape, random);
    std::vector<HeadCost> codes;
    for (int i = 0; i < 4; ++i) {
      codes.push_back({i / 2, i % 2, 4, 0, true, 0.03 * (1 + random() % 5), int8});
      codes.push_back({i / 2, i % 2, 4, 0, true, 0.07 * (1 + random() % 5), mixed});
    }
    std::vector<HeadCost> every = costs;  // each choice written out
    for (const HeadCost& code : codes) {
      every.push_back(code);
      for (HeadCost window : costs) {
        if (window.layer != code.layer || window.head != code.head) continue;
        window.storage = code.storage;
        window.kl += code.kl;
        every.push_back(window);
      }
    }
    costs.insert(costs.end(), codes.begin(), codes.end());
    Budget budget = kWhole;
    budget.share = 0.05 + 0.03 * instance;
    const auto both = BudgetPlan(shape, costs, budget);
    const auto written = BudgetPlan(shape, every, budget);
    ASSERT_EQ(both.ok(), written.ok()) << both.status() << written.status();
    if (!both.ok()) continue;
    EXPECT_EQ(both->ToJson(), written->ToJson());
    EXPECT_LE(Bytes(*both, shape), budget.share * FullBytes(*both) + 1);
    EXPECT_NEAR(PredictedKl(costs, *both).value(), PredictedKl(every, *written).value(), 1e-9);
  }
}

// Every head may become local at 256; only the last is dear.
std::vector<HeadCost> OneDearHead(const PlanShape& shape) {
  std::vector<HeadCost> costs;
  for (int layer = 0; layer < shape.layers; ++layer) {
    for (int head = 0; head < shape.kv_heads; ++head) {
      const bool last = layer + 1 == shape.layers && head + 1 == shape.kv_heads;
      costs.push_back({layer, head, 4, 256, true, last ? 5.0 : 0.001});
    }
  }
  return costs;
}

TEST(BudgetPlan, KeepsTheDearHeadAndOfEqualOnesTheFirst) {
  const PlanShape shape{8, 4};
  const std::vector<HeadCost> costs = OneDearHead(shape);
  const auto kept = [&](double share) {
    Budget budget = kWhole;
    budget.share = share;
    const Plan plan = BudgetPlan(shape, costs, budget).value();
    std::string heads;
    for (int i = 0; i < 32; ++i) heads += plan.policy(i / 4, i % 4).full() ? '1' : '0';
    return heads;
  };
  EXPECT_EQ(kept(0.11), "00000000000000000000000000000001");
  EXPECT_EQ(kept(0.17), "11000000000000000000000000000001");
  EXPECT_EQ(kept(1), "11111111111111111111111111111111");
}

TEST(BudgetPlan, ABudgetThatCannotBeMetNamesTheLeast) {
  const PlanShape shape{8, 4};
  Budget budget = kWhole;
  budget.share = 0.01;
  const auto refused = BudgetPlan(shape, OneDearHead(shape), budget);
  ASSERT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("a share of 0.0100 of the full cache at 4096 tokens cannot be met"));
  // 17 pages of 4 KiB and two sums of 64 floats, of 1 MiB a head: 6.69 %.
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("the least is 0.0669"));
  budget.share = 0.067;
  EXPECT_TRUE(BudgetPlan(shape, OneDearHead(shape), budget).ok());
}

TEST(BudgetPlan, AChoiceThatCostsNothingIsTaken) {
  const PlanShape shape{1, 2};
  const std::vector<HeadCost> costs{{0, 0, 4, 256, true, 0}, {0, 1, 4, 256, true, -1e-9}};
  const Plan plan = BudgetPlan(shape, costs, kWhole).value();
  EXPECT_FALSE(plan.policy(0, 0).full());
  EXPECT_FALSE(plan.policy(0, 1).full());
  EXPECT_TRUE(MaxKlPlan(shape, {}, kWhole, 1).value().policy(0, 1).full());
}

TEST(BudgetPlan, CostsThatMakeNoSenseAreNamed) {
  const PlanShape shape{2, 2};
  const auto refusal = [&](const HeadCost& cost) {
    const auto plan = BudgetPlan(shape, {cost}, kWhole);
    EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(plan.status().message());
  };
  EXPECT_THAT(refusal({2, 0, 4, 256, true, 0}), HasSubstr("layer 2 head 0: the model has 2"));
  EXPECT_THAT(refusal({0, 2, 4, 256, true, 0}), HasSubstr("layer 0 head 2"));
  EXPECT_THAT(refusal({0, 0, 4, 0, true, 0}), HasSubstr("window_tokens: at least 1, is 0"));
  EXPECT_THAT(refusal({0, 0, -1, 16, true, 0}), HasSubstr("sinks: at least 0, is -1"));
  EXPECT_THAT(refusal({1, 1, 4, 16, true, std::nan("")}), HasSubstr("kl: must be finite"));
  const HeadCost once{1, 1, 4, 16, false, 0.5};
  EXPECT_THAT(std::string(CostCurve(shape, {once, once}, kWhole).status().message()),
              HasSubstr("layer 1 head 1: local-4-16-none stands twice"));
  EXPECT_FALSE(MaxKlPlan(shape, {}, kWhole, -1).ok());
  EXPECT_EQ(PredictedKl({}, Plan::Local(2, 2)).status().code(), absl::StatusCode::kNotFound);
}

TEST(BudgetPlan, CurveFallsAndEndsAtNothing) {
  std::mt19937 random(3);
  const PlanShape shape{4, 4};
  const std::vector<HeadCost> costs = RandomCosts(shape, random);
  const std::vector<CurvePoint> curve = CostCurve(shape, costs, kWhole).value();
  ASSERT_GT(curve.size(), 3u);
  EXPECT_EQ(curve.back().kl, 0);
  for (size_t i = 0; i < curve.size(); ++i) {
    Budget budget = kWhole;
    budget.share = static_cast<double>(curve[i].bytes) / FullBytes(Plan::Full(4, 4));
    const Plan plan = BudgetPlan(shape, costs, budget).value();
    EXPECT_EQ(Bytes(plan), curve[i].bytes);
    EXPECT_NEAR(PredictedKl(costs, plan).value(), curve[i].kl, 1e-12);
    if (i > 0) {
      EXPECT_GT(curve[i].bytes, curve[i - 1].bytes);
      EXPECT_LT(curve[i].kl, curve[i - 1].kl);
    }
  }
}

TEST(BudgetPlan, ManyHeadsStayWithinTheBudgetAndNearTheBound) {
  // 32 x 8 heads, six choices each, costs that no two heads share: far more sums than states.
  std::mt19937 random(7);
  const PlanShape shape{32, 8};
  std::vector<HeadCost> costs;
  for (int i = 0; i < 256; ++i) {
    double kl = std::exponential_distribution<double>(50)(random);
    for (const int64_t window : {128, 256, 512, 1024, 2048, 3072}) {
      costs.push_back({i / 8, i % 8, 4, window, true, kl});
      kl *= std::uniform_real_distribution<double>(0.4, 0.9)(random);
    }
  }
  Budget budget = kWhole;
  budget.share = 0.3;
  const Plan plan = BudgetPlan(shape, costs, budget).value();
  EXPECT_LE(Bytes(plan), 0.3 * FullBytes(plan) + 0.5);
  EXPECT_EQ(plan.ToJson(), BudgetPlan(shape, costs, budget).value().ToJson());
  // No plan within the budget costs less than the best of kl + price * (bytes - limit).
  double bound = 0;
  for (double price = 1e-10; price < 1e-6; price *= 1.02) {
    double value = -price * 0.3 * static_cast<double>(FullBytes(plan));
    for (int i = 0; i < 256; ++i) {
      double least = price * static_cast<double>(LaneBytes({}, kContext, 64, 2));
      for (const HeadCost& cost : costs) {
        if (cost.layer * 8 + cost.head != i) continue;
        const LaneRule rule{false, cost.sinks, cost.window_tokens};
        least = std::min(least,
                         cost.kl + price * static_cast<double>(LaneBytes(rule, kContext, 64, 2)));
      }
      value += least;
    }
    bound = std::max(bound, value);
  }
  const double kl = PredictedKl(costs, plan).value();
  EXPECT_GE(kl, bound - 1e-9);
  EXPECT_LE(kl, bound * 1.01);
}

}  // namespace
}  // namespace headlong
