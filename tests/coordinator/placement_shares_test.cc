#include "coordinator/placement_shares.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "cache/widened_rows.h"
#include "tests/coordinator/placement_case.h"

namespace headlong {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Apportion, InProportion) {
  EXPECT_THAT(Apportion(100, {1, 3}, {1000, 1000}), ElementsAre(25, 75));
  EXPECT_THAT(Apportion(0, {1, 3}, {1000, 1000}), ElementsAre(0, 0));
  EXPECT_THAT(Apportion(1, {1, 1, 1}, {9, 9, 9}), ElementsAre(1, 0, 0));
}

TEST(Apportion, WhatACappedWorkerCannotTakeGoesToTheOthers) {
  EXPECT_THAT(Apportion(100, {1, 3}, {1000, 30}), ElementsAre(70, 30));
  EXPECT_THAT(Apportion(100, {1, 1, 1}, {0, 10, 1000}), ElementsAre(0, 10, 90));
}

TEST(Apportion, CapsTooSmallTogether) {
  EXPECT_THAT(Apportion(100, {1, 1}, {50, 49}), IsEmpty());
  EXPECT_THAT(Apportion(1, {}, {}), IsEmpty());
}

TEST(Apportion, RandomSharesAddUpUnderTheCaps) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 5000; ++round) {
    const size_t workers = 1 + random() % 9;
    std::vector<double> weights(workers);
    std::vector<int64_t> caps(workers);
    for (size_t i = 0; i < workers; ++i) {
      weights[i] = 1 + static_cast<double>(random() % 1000) / 7;
      caps[i] = static_cast<int64_t>(random() % 300);
    }
    const int64_t room = std::accumulate(caps.begin(), caps.end(), int64_t{0});
    const int64_t total = static_cast<int64_t>(random() % 1000);
    const std::vector<int64_t> shares = Apportion(total, weights, caps);
    if (total > room) {
      EXPECT_THAT(shares, IsEmpty());
      continue;
    }
    ASSERT_EQ(shares.size(), workers);
    EXPECT_EQ(std::accumulate(shares.begin(), shares.end(), int64_t{0}), total);
    for (size_t i = 0; i < workers; ++i) {
      EXPECT_GE(shares[i], 0);
      EXPECT_LE(shares[i], caps[i]);
    }
  }
}

std::vector<double> Levelled(const std::vector<double>& measured) {
  std::vector<PlacementWorker> workers;
  for (const double speed : measured) workers.push_back({"", "", 0, speed});
  return LevelledSpeeds(workers);
}

TEST(LevelledSpeeds, AlikeCountAsEqual) {
  EXPECT_THAT(Levelled({100, 95, 120}), ElementsAre(120, 120, 120));
  EXPECT_THAT(Levelled({100, 30, 28}), ElementsAre(100, 30, 30));
}

TEST(LevelledSpeeds, UnmeasuredIsNotZero) {
  for (const double speed : Levelled({0, 0})) EXPECT_GT(speed, 0);
}

// Against the model's own count of parameters.
TEST(ModelBytes, PartsAddUpToTheModel) {
  const ModelConfig config = SmallModel();
  const Plan plan = SmallPlan();
  const PlacementProblem problem = SmallProblem(config, plan, {1});
  const int64_t attention = 2 * 256 * (8 * 32) + 2 * 256 * (4 * 32);  // q and o, k and v
  EXPECT_EQ(HeadWeightBytes(problem, 0) * config.kv_heads, attention * 4);
  EXPECT_EQ(ColumnWeightBytes(problem) * config.intermediate_size, 3 * 256 * 512 * 4);
  EXPECT_EQ(VocabRowBytes(problem) * config.vocab_size, 2 * 1000 * 256 * 4);
  ModelConfig without_gate = config;
  without_gate.mlp = MlpType::kGelu;
  const PlacementProblem other = SmallProblem(without_gate, plan, {1});
  EXPECT_EQ(ColumnWeightBytes(other) * config.intermediate_size, 2 * 256 * 512 * 4);
}

// fp32 rows of head_dim: as many as the ranks say, or two whole matrices that turn keys and values,
// each twice.
TEST(ModelBytes, ProjectionsCountAsWeightsOfTheirHeads) {
  const ModelConfig config = SmallModel();
  const auto plan = Plan::FromJson(
      R"({"version":1,"layers":4,"kv_heads":4,"policies":{"plain":{},"ranked":{"rank":{"k":16}},)"
      R"("turned":{"storage":{"k":"int8","v":"int8"},"rotation":"hadamard"}},"default":"plain",)"
      R"("projections":{"file":"p.safetensors","sha256":")" +
          std::string(64, 'a') +
          R"("},"heads":[{"layer":1,"heads":[0,2],"policy":"ranked"},)"
          R"({"layer":2,"heads":[1],"policy":"turned"}]})",
      PlanShape{4, 4, ""}, "test");
  ASSERT_TRUE(plan.ok()) << plan.status();
  const PlacementProblem problem = SmallProblem(config, *plan, {1});
  const int64_t plain = HeadWeightBytes(problem, plan->policy_index(0, 0));
  const int64_t row = config.head_dim * 4;
  EXPECT_EQ(HeadWeightBytes(problem, plan->policy_index(1, 0)) - plain, 2 * 16 * row);
  EXPECT_EQ(HeadWeightBytes(problem, plan->policy_index(2, 1)) - plain, 4 * 32 * row);
  const HeldLane lanes[] = {{{0, 0}}, {{1, 0}}, {{1, 2}}, {{2, 1}}};
  EXPECT_EQ(HeadsWeightBytes(problem, lanes), 4 * plain + (4 * 16 + 4 * 32) * row);
}

// Room for rows that codes become: on GPUs, where some policy codes, and bounded.
TEST(ModelBytes, ScratchHasRoomForWidenedRowsOnGpus) {
  const ModelConfig config = SmallModel();
  const auto coded = Plan::FromJson(
      R"({"version":1,"layers":4,"kv_heads":4,"policies":{"all":{"storage":{"v":"int8"}}},)"
      R"("default":"all","heads":[]})",
      PlanShape{4, 4, ""}, "test");
  ASSERT_TRUE(coded.ok()) << coded.status();
  const auto scratch = [&](const Plan& plan, const std::string& device) {
    PlacementProblem problem = SmallProblem(config, plan, {1});
    problem.cache_element_bytes = 2;
    problem.workers[0].device = device;
    return ScratchBytes(problem, 4, 512, 1000);
  };
  const int64_t rows = 4 * 4096 * 2 * 2 * int64_t{config.head_dim};
  EXPECT_EQ(scratch(*coded, "cuda") - scratch(*coded, "cpu"), rows);
  EXPECT_EQ(scratch(SmallPlan(), "cuda"), scratch(SmallPlan(), "cpu"));
  EXPECT_EQ(WidenedRoom::For(131072, 8, 128).heads, 8);
  EXPECT_EQ(WidenedRoom::For(262144, 8, 128).heads, 4);
  EXPECT_EQ(WidenedRoom::For(int64_t{1} << 30, 8, 128).rows, WidenedRoom::kMostRows);
  EXPECT_EQ(WidenedRoom::For(int64_t{1} << 30, 8, 128).heads, 2);
  EXPECT_EQ(WidenedRoom::For(int64_t{1} << 30, 1, 128).heads, 1);
}

TEST(LaneBytesReserved, LocalLanesDoNotGrowWithTheContext) {
  const ModelConfig config = SmallModel();
  const Plan plan = SmallPlan();
  PlacementProblem problem = SmallProblem(config, plan, {1});
  const int local = plan.policy_index(0, 0);
  const int full = plan.policy_index(1, 0);
  const int64_t local_bytes = LaneReservedBytes(problem, local, 1);
  const int64_t full_bytes = LaneReservedBytes(problem, full, 1);
  EXPECT_EQ(full_bytes, 4096 * 2 * 32 * 4);
  EXPECT_EQ(LaneReservedBytes(problem, full, 3), 3 * full_bytes);
  problem.max_context = 8192;
  EXPECT_EQ(LaneReservedBytes(problem, local, 1), local_bytes);
  EXPECT_EQ(LaneReservedBytes(problem, full, 1), 2 * full_bytes);
}

}  // namespace
}  // namespace headlong
