#include "coordinator/calibration/alibi_scope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "common/json.h"
#include "tests/support/paths.h"

namespace headlong {
namespace {

// Two heads by hand: W_Q^T W_K is diag(3, 1) and [[0, 0], [2, 0]].
TEST(AlibiScope, OfTwoHeadsByHand) {
  const std::vector<float> one = {1, 0, 0, 1}, stretched = {3, 0, 0, 1};
  const std::vector<float> query = {0, 2, 0, 0}, key = {1, 0, 0, 0};
  const double first = ProductNorm(stretched, one, 2), second = ProductNorm(query, key, 2);
  EXPECT_NEAR(first, 3, 1e-12);
  EXPECT_NEAR(second, 2, 1e-12);
  const double squares = (1 + 4) + (0 + 1);  // gamma = (1, 2), b = (0, 1)
  const double epsilon = std::exp(-4);
  EXPECT_NEAR(AlibiScope(first, squares, 0.5, epsilon), (2 * 3 * 6 + 4) / 0.5, 1e-9);     // 80
  EXPECT_NEAR(AlibiScope(second, squares, 0.25, epsilon), (2 * 2 * 6 + 4) / 0.25, 1e-9);  // 112
}

TEST(ProductNorm, IsWhatTheFormReachesAndNeverPasses) {
  constexpr int kDim = 4, kHidden = 12;
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> query(kDim * kHidden), key(kDim * kHidden);
  for (float& x : query) x = normal(random);
  for (float& x : key) x = normal(random);
  std::vector<double> form(kHidden * kHidden, 0);  // W_Q^T W_K
  for (int i = 0; i < kHidden; ++i) {
    for (int j = 0; j < kHidden; ++j) {
      for (int d = 0; d < kDim; ++d) {
        form[i * kHidden + j] += double{query[d * kHidden + i]} * key[d * kHidden + j];
      }
    }
  }
  // Power iteration on form^T form.
  std::vector<double> y(kHidden, 1);
  double length = 0;
  for (int turn = 0; turn < 500; ++turn) {
    std::vector<double> x(kHidden, 0), next(kHidden, 0);
    for (int i = 0; i < kHidden; ++i) {
      for (int j = 0; j < kHidden; ++j) x[i] += form[i * kHidden + j] * y[j];
    }
    for (int i = 0; i < kHidden; ++i) {
      for (int j = 0; j < kHidden; ++j) next[j] += form[i * kHidden + j] * x[i];
    }
    length = 0;
    for (const double value : next) length += value * value;
    length = std::sqrt(length);
    for (int j = 0; j < kHidden; ++j) y[j] = next[j] / length;
  }
  EXPECT_NEAR(ProductNorm(query, key, kDim), std::sqrt(length), 1e-9);
}

// Against singular values of the whole products, by another program.
TEST(AlibiScopes, OfTheTinyModelAreAsRecorded) {
  const auto folder = GoldenPath("families") / "mpt";
  const auto reference = ReadJsonFile(folder / "reference.json");
  ASSERT_TRUE(reference.ok()) << reference.status();
  const auto config = LoadModelConfig(folder);
  ASSERT_TRUE(config.ok()) << config.status();
  const auto checkpoint = Checkpoint::Open(folder, *config);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const std::vector<double> scopes = AlibiScopes(*config, **checkpoint);
  ASSERT_EQ(scopes.size(), 6u);
  for (int i = 0; i < 6; ++i) {
    const double expected = (*reference)["scopes"][i / 3][i % 3].get<double>();
    EXPECT_NEAR(scopes[i], expected, 1e-6 * expected);
  }
}

PlanShape Shape() {
  PlanShape shape{1, 4};
  shape.alibi = true;
  return shape;
}

TEST(ScopePlan, HeadsThatSeeLessThanTheContextAreWindows) {
  const Plan plan = ScopePlan(Shape(), {80, 112.5, 4096, 1e9}, {.context = 4096});
  EXPECT_EQ(plan.policy(0, 0).window_tokens, 80);
  EXPECT_EQ(plan.policy(0, 1).window_tokens, 128);
  EXPECT_EQ(plan.policy(0, 0).sinks, 0);
  EXPECT_EQ(plan.policy(0, 0).compensation, Compensation::kNone);
  EXPECT_TRUE(plan.policy(0, 2).full());
  EXPECT_TRUE(plan.policy(0, 3).full());
  const auto read = Plan::FromJson(plan.ToJson(), Shape(), "plan");
  EXPECT_TRUE(read.ok()) << read.status();
}

TEST(ScopePlan, RoundsUpByAnEighthAtMost) {
  for (double scope = 1; scope < 50000; scope = scope * 1.1 + 0.3) {
    const Plan plan = ScopePlan({1, 1}, {scope}, {.context = 1 << 20});
    const auto window = static_cast<double>(plan.policy(0, 0).window_tokens.value());
    EXPECT_GE(window, scope);
    EXPECT_LE(window, std::max(scope * 1.125 + 1, scope + 16)) << scope;
  }
  // A window that no position of the context leaves is none.
  EXPECT_TRUE(ScopePlan({1, 1}, {4090}, {.context = 4096}).policy(0, 0).full());
}

TEST(ScopePlan, TakesTheLeastOfGivenWindows) {
  const ScopeRule rule{.context = 4096, .windows = {1024, 64, 256}};
  const Plan plan = ScopePlan(Shape(), {64, 64.5, 1025, 5000}, rule);
  EXPECT_EQ(plan.policy(0, 0).window_tokens, 64);
  EXPECT_EQ(plan.policy(0, 1).window_tokens, 256);
  EXPECT_TRUE(plan.policy(0, 2).full());
  EXPECT_TRUE(plan.policy(0, 3).full());
}

}  // namespace
}  // namespace headlong
