// Layers by similarity: groups against brute force, and windows that move at equal bytes.
#include "coordinator/calibration/layer_rule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "coordinator/calibration/paper_rule.h"

namespace headlong {
namespace {

double Distances(const std::vector<double>& values, const std::vector<int>& groups) {
  double all = 0;
  for (int g = 0; g < 3; ++g) {
    double sum = 0;
    int count = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      if (groups[i] != g) continue;
      sum += values[i];
      ++count;
    }
    for (size_t i = 0; i < values.size(); ++i) {
      if (groups[i] == g) all += std::pow(values[i] - sum / count, 2);
    }
  }
  return all;
}

double LeastOfAll(const std::vector<double>& values) {
  double least = std::numeric_limits<double>::infinity();
  std::vector<int> groups(values.size(), 0);
  while (true) {
    least = std::min(least, Distances(values, groups));
    size_t i = 0;
    while (i < groups.size() && ++groups[i] == 3) groups[i++] = 0;
    if (i == groups.size()) return least;
  }
}

TEST(LayerRule, ThreeMeansIsTheBestOfAllGroupings) {
  std::mt19937 random(7);
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<double> values(1 + random() % 8);
    // Often close together, and often equal.
    for (double& x : values) x = 0.9 + 0.01 * static_cast<double>(random() % 11);
    const std::vector<int> groups = ThreeMeans(values);
    EXPECT_NEAR(Distances(values, groups), LeastOfAll(values), 1e-12);
    for (size_t i = 0; i < values.size(); ++i) {
      for (size_t j = 0; j < values.size(); ++j) {
        if (groups[i] < groups[j]) {
          EXPECT_LE(values[i], values[j]) << "groups are runs";
        }
      }
    }
  }
}

TEST(LayerRule, FewValuesMakeFewGroups) {
  EXPECT_EQ(ThreeMeans({}), std::vector<int>());
  EXPECT_EQ(ThreeMeans({0.5}), std::vector<int>({0}));
  EXPECT_EQ(ThreeMeans({0.5, 0.5, 0.5, 0.5}), std::vector<int>({0, 0, 0, 0}));
  EXPECT_EQ(ThreeMeans({0.7, 0.5, 0.7}), std::vector<int>({1, 0, 1}));
  EXPECT_EQ(ThreeMeans({0.99, 0.2, 0.98, 0.6, 0.21}), std::vector<int>({2, 0, 2, 1, 0}));
}

class WindowsByLayer : public ::testing::Test {
 protected:
  int64_t Bytes(const Plan& plan) const {
    return plan.SequenceBytes(budget_.context, budget_.context, budget_.head_dim,
                              budget_.element_bytes);
  }
  const PlanShape shape_{6, 2, "", {}};
  const Budget budget_{8192, 64, 2, 1};
};

TEST_F(WindowsByLayer, MoveToWhereAttentionDoesMore) {
  HeadScores scores{6, 2, std::vector<double>(12, 0), std::vector<double>(12, 0)};
  for (int i = 0; i < 12; ++i) scores.echo[i] = scores.induction[i] = 0.01 * i;
  const Plan paper = PaperRulePlan(scores, PaperRule());
  const std::vector<double> similarity = {0.5, 0.8, 0.99, 0.98, 0.79, 0.97};
  const Plan moved = WithWindowsByLayer(shape_, paper, similarity, budget_, LayerRule());
  for (int layer = 0; layer < 6; ++layer) {
    for (int head = 0; head < 2; ++head) {
      const HeadPolicy &before = paper.policy(layer, head), &after = moved.policy(layer, head);
      ASSERT_EQ(before.full(), after.full());
      if (before.full()) continue;
      EXPECT_EQ(after.sinks, before.sinks);
      if (similarity[layer] > 0.9) {
        EXPECT_EQ(*after.window_tokens, 96);  // 0.4 of 256, in steps of 16
      } else {
        EXPECT_GT(*after.window_tokens, 256);
      }
    }
  }
  EXPECT_LE(Bytes(moved), Bytes(paper));
  EXPECT_GT(Bytes(moved), Bytes(paper) * 98 / 100) << "what was freed is used";
}

TEST_F(WindowsByLayer, StayWhereAllLayersAreAlike) {
  const Plan local = LocalWithin(shape_, budget_, 4, 500000);
  const Plan moved =
      WithWindowsByLayer(shape_, local, std::vector<double>(6, 0.9), budget_, LayerRule());
  EXPECT_EQ(moved.ToJson(), local.ToJson());
}

TEST_F(WindowsByLayer, OneWindowForAllFillsTheBytes) {
  for (const int64_t bytes : {int64_t{100000}, int64_t{600000}, int64_t{1} << 40}) {
    const Plan local = LocalWithin(shape_, budget_, 4, bytes);
    const int64_t window = *local.policy(0, 0).window_tokens;
    EXPECT_EQ(window % 16, 0);
    if (window > 16) {
      EXPECT_LE(Bytes(local), bytes);
    }
    if (window + 16 > budget_.context) continue;
    HeadPolicy wider = local.policy(0, 0);
    *wider.window_tokens += 16;
    EXPECT_GT(Bytes(Plan::FromPolicies(shape_, std::vector<HeadPolicy>(12, wider))), bytes);
  }
}

}  // namespace
}  // namespace headlong
