// Which heads the paper's rule keeps: counts, unions, ties.
#include "coordinator/calibration/paper_rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace headlong {
namespace {

using ::testing::ElementsAre;

// Heads that keep everything, as layer * kv_heads + head.
std::vector<int> Kept(const HeadScores& scores, const PaperRule& rule = {}) {
  const Plan plan = PaperRulePlan(scores, rule);
  std::vector<int> kept;
  for (int layer = 0; layer < plan.layers(); ++layer) {
    for (int head = 0; head < plan.kv_heads(); ++head) {
      if (plan.policy(layer, head).full()) kept.push_back(layer * plan.kv_heads() + head);
    }
  }
  return kept;
}

HeadScores Zeros(int layers, int kv_heads) {
  const std::vector<double> zeros(static_cast<size_t>(layers) * kv_heads, 0.0);
  return {layers, kv_heads, zeros, zeros};
}

// All scores different and low, so that no heads tie.
HeadScores Distinct(int layers, int kv_heads) {
  HeadScores scores = Zeros(layers, kv_heads);
  for (size_t i = 0; i < scores.echo.size(); ++i) {
    scores.echo[i] = scores.induction[i] = 1e-3 / static_cast<double>(i + 2);
  }
  return scores;
}

TEST(PaperRule, CountsAreRoundedHalfUpAndAtLeastOne) {
  // 32 heads: 14 % are 4.48, so 4; 1 % is 0.32, so 1.
  HeadScores scores = Distinct(8, 4);
  for (const int head : {24, 25, 30, 7}) scores.induction[head] = 0.5 + head * 0.01;
  scores.echo[9] = 0.9;
  EXPECT_THAT(Kept(scores), ElementsAre(7, 9, 24, 25, 30));
  // 25 heads: 14 % are exactly 3.5, which is 4.
  EXPECT_EQ(Kept(Distinct(5, 5)).size(), 4u);
  // 3 heads: one each, the same.
  EXPECT_THAT(Kept(Distinct(3, 1)), ElementsAre(0));
}

TEST(PaperRule, AHeadThatBothScoresNameCountsOnce) {
  HeadScores scores = Distinct(8, 4);
  scores.induction[3] = scores.echo[3] = 1;
  EXPECT_EQ(Kept(scores).size(), 4u);
}

TEST(PaperRule, TiesAtTheThresholdAreAllKept) {
  HeadScores scores = Distinct(8, 4);
  for (const int head : {1, 2, 3}) scores.induction[head] = 0.9;
  for (const int head : {10, 20, 31}) scores.induction[head] = 0.5;  // fourth to sixth
  scores.echo[1] = 1;
  EXPECT_THAT(Kept(scores), ElementsAre(1, 2, 3, 10, 20, 31));
  EXPECT_EQ(Kept(Zeros(8, 4)).size(), 32u);
}

TEST(PaperRule, OtherSharesSinksAndWindows) {
  const HeadScores scores = Distinct(2, 5);
  PaperRule rule;
  rule.induction_share = 0.5;
  rule.echo_share = 0.5;
  rule.sinks = 8;
  rule.window_tokens = 1024;
  EXPECT_THAT(Kept(scores, rule), ElementsAre(0, 1, 2, 3, 4));
  const Plan plan = PaperRulePlan(scores, rule);
  EXPECT_EQ(plan.policy(1, 4).sinks, 8);
  EXPECT_EQ(plan.policy(1, 4).window_tokens, 1024);
  EXPECT_EQ(plan.policy(1, 4).compensation, Compensation::kMean);
  const auto again = Plan::FromJson(plan.ToJson(), {2, 5}, "rule");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->ToJson(), plan.ToJson());
}

}  // namespace
}  // namespace headlong
