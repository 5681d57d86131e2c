// The parts of the solver by themselves: levels, stripes, columns by layer, one layer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "coordinator/placement_fluid.h"
#include "coordinator/placement_layer.h"
#include "coordinator/placement_pack.h"
#include "tests/coordinator/placement_case.h"

namespace headlong {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(FillLevel, CapsThenTheOthersTakeMore) {
  const std::vector<double> speeds{1, 1, 2};
  EXPECT_DOUBLE_EQ(FillLevel(40, speeds, std::vector<int64_t>{100, 100, 100}), 10);
  EXPECT_DOUBLE_EQ(FillLevel(40, speeds, std::vector<int64_t>{1, 100, 100}), 13);
  EXPECT_DOUBLE_EQ(FillLevel(0, speeds, std::vector<int64_t>{0, 0, 0}), 0);
  EXPECT_TRUE(std::isinf(FillLevel(40, speeds, std::vector<int64_t>{10, 10, 10})));
  EXPECT_TRUE(std::isinf(FillLevel(1, speeds, std::vector<int64_t>{-5, 0, 0})));
}

TEST(StripeCounts, FewWhereSharesAreSimple) {
  EXPECT_THAT(StripeCounts({1.0}, 0.004, 64), ElementsAre(1));
  EXPECT_THAT(StripeCounts({0.5, 0.5}, 0.004, 64), ElementsAre(1, 1));
  EXPECT_THAT(StripeCounts({0.375, 0.375, 0.25}, 0.004, 64), ElementsAre(3, 3, 2));
}

TEST(StripeCounts, EveryOwnerHasOneAndTheyAddUp) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 300; ++round) {
    std::vector<double> shares(1 + random() % 40);
    double sum = 0;
    for (double& share : shares) sum += share = 1 + static_cast<double>(random() % 100);
    for (double& share : shares) share /= sum;
    const std::vector<int> counts = StripeCounts(shares, 0.004, 64);
    const int of = std::accumulate(counts.begin(), counts.end(), 0);
    ASSERT_EQ(counts.size(), shares.size());
    EXPECT_GE(*std::min_element(counts.begin(), counts.end()), 1);
    EXPECT_LE(of, kMaxStripes);
    EXPECT_LE(of, std::max<int>(64, 2 * static_cast<int>(shares.size())));
  }
}

TEST(SpreadOverLayers, LayersAreCoveredAndTotalsKept) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 2000; ++round) {
    const int layers = 1 + static_cast<int>(random() % 12);
    const int64_t per_layer = 1 + static_cast<int64_t>(random() % 50);
    std::vector<int64_t> totals(1 + random() % 9, 0);
    for (int64_t unit = 0; unit < layers * per_layer; ++unit) {
      ++totals[random() % (1 + random() % totals.size())];
    }
    const auto spread = SpreadOverLayers(totals, layers);
    ASSERT_EQ(spread.size(), size_t(layers));
    std::vector<int64_t> given(totals.size(), 0);
    for (const auto& units : spread) {
      EXPECT_EQ(std::accumulate(units.begin(), units.end(), int64_t{0}), per_layer);
      for (size_t i = 0; i < units.size(); ++i) {
        EXPECT_GE(units[i], 0);
        EXPECT_LE(units[i], totals[i] / layers + 2);
        given[i] += units[i];
      }
    }
    EXPECT_EQ(given, totals);
  }
}

class Parts : public testing::Test {
 protected:
  const ModelConfig config_ = SmallModel();
  const Plan plan_ = SmallPlan();
};

TEST_F(Parts, AWorkerWithoutRoomGetsNothingOfALayer) {
  PlacementProblem problem = SmallProblem(config_, plan_, {64 << 20, 64 << 20, 64 << 20});
  problem.link = {0, 0};
  const PlacementModel model(problem, 1);
  std::vector<int64_t> left = model.room();
  left[1] = 1000;
  const std::vector<double> slow(3, 1.0);
  LayerTask task;
  task.model = &model;
  task.layer = 2;
  task.slow = slow;
  task.left = left;
  const auto parts = PlaceLayer(task);
  ASSERT_TRUE(parts.has_value());
  for (const HeadPart& part : *parts) EXPECT_NE(part.worker, 1);
  left.assign(3, 1000);
  EXPECT_FALSE(PlaceLayer(task).has_value());
}

TEST_F(Parts, PackingSplitsAHeadThatFitsNowhereWhole) {
  PlacementProblem problem = SmallProblem(config_, plan_, std::vector<int64_t>(7, 8 << 20));
  // A context at which a retrieval head is larger than what any worker has.
  problem.max_context = 32 << 10;
  problem.max_sequences = 1;
  const PlacementModel model(problem, 1);
  const int64_t most = *std::max_element(model.room().begin(), model.room().end());
  ASSERT_GT(model.kinds()[1].bytes(), most) << "kinds are ordered by policy name";
  EXPECT_TRUE(PackByMemory(model, /*stripes=*/true).has_value());
  EXPECT_FALSE(PackByMemory(model, /*stripes=*/false).has_value());
  problem.stripes = false;
  EXPECT_THAT(std::string(Place(problem).status().message()), HasSubstr("room in one piece"));
}

TEST_F(Parts, ShortMemoryIsCountedInBytes) {
  const auto refused = Place(SmallProblem(config_, plan_, {8 << 20, 4 << 20}));
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("more than all workers have beside scratch"));
}

}  // namespace
}  // namespace headlong
