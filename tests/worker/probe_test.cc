#include "worker/probe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

namespace headlong {
namespace {

TEST(Probe, LogProbabilitiesSumToOne) {
  const std::vector<float> logits = {1000, 1001, 998, -std::numeric_limits<float>::infinity()};
  double sum = 0;
  for (const float log : LogProbabilities(logits)) sum += std::exp(double{log});
  EXPECT_NEAR(sum, 1, 1e-6);
}

TEST(Probe, CosinesAreOfARowBeforeAndAfter) {
  // The same direction; a right angle; the opposite; a row of zeros.
  const std::vector<float> x = {3, 4, 1, 0, 2, 0, 0, 0};
  const std::vector<float> added = {6, 8, -1, 5, -3, 0, 0, 0};
  EXPECT_NEAR(SumOfCosines(x, added, 4), 1 + 0 - 1 + 1, 1e-12);
  EXPECT_NEAR(SumOfCosines(std::vector<float>{1, 0}, std::vector<float>{0, 1}, 1), std::sqrt(0.5),
              1e-12);
}

TEST(Probe, KlIsOfTheKeptRow) {
  KeptDistributions kept;
  kept.Begin(3);
  ASSERT_TRUE(kept.Keep(3, std::vector<float>{0, 0}).ok());
  ASSERT_TRUE(kept.Keep(3, std::vector<float>{std::log(3.0f), 0}).ok());
  const std::vector<float> even = {5, 5};
  EXPECT_NEAR(kept.Compare(3, 0, even).value(), 0, 1e-7);
  EXPECT_NEAR(kept.Compare(3, 1, even).value(),
              0.75 * std::log(0.75 / 0.5) + 0.25 * std::log(0.25 / 0.5), 1e-6);
}

TEST(Probe, ATokenThatCannotComeCostsNothing) {
  KeptDistributions kept;
  const float never = -std::numeric_limits<float>::infinity();
  ASSERT_TRUE(kept.Keep(1, std::vector<float>{0, never}).ok());
  EXPECT_NEAR(kept.Compare(1, 0, std::vector<float>{0, 0}).value(), std::log(2.0), 1e-6);
}

TEST(Probe, WhatIsNotKeptIsSaid) {
  KeptDistributions kept;
  ASSERT_TRUE(kept.Keep(1, std::vector<float>{0, 0}).ok());
  EXPECT_FALSE(kept.Compare(2, 0, std::vector<float>{0, 0}).ok());
  EXPECT_FALSE(kept.Compare(1, 1, std::vector<float>{0, 0}).ok());
  EXPECT_FALSE(kept.Compare(1, 0, std::vector<float>{0, 0, 0}).ok());
  kept.Begin(1);
  EXPECT_FALSE(kept.Compare(1, 0, std::vector<float>{0, 0}).ok()) << "begun anew";
}

}  // namespace
}  // namespace headlong
