// Placements: every part of the model once, under every worker's memory, by memory and by speed;
// refusals that say what would help.
#include "coordinator/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/coordinator/placement_check.h"

namespace headlong {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kPlenty = 256 * kMiB;

int RetrievalHeads(const v1::WorkerShare& share) {
  return static_cast<int>(
      std::count_if(share.heads().begin(), share.heads().end(),
                    [](const v1::HeadShare& head) { return head.retrieval(); }));
}

int64_t Columns(const v1::WorkerShare& share) {
  return share.mlp_columns(0).end() - share.mlp_columns(0).begin();
}

class Placing : public testing::Test {
 protected:
  const ModelConfig config_ = SmallModel();
  const Plan plan_ = SmallPlan();
};

TEST_F(Placing, RandomClustersAreCoveredOnceOrRefused) {
  std::mt19937_64 random(11);
  int placed = 0;
  for (int round = 0; round < 1000; ++round) {
    std::vector<int64_t> memory(1 + random() % 7);
    for (int64_t& bytes : memory) bytes = static_cast<int64_t>(random() % (24 * kMiB));
    PlacementProblem problem = SmallProblem(config_, plan_, memory);
    problem.max_context = 64 + static_cast<int64_t>(random() % 8000);
    problem.max_sequences = 1 + static_cast<int>(random() % 8);
    for (PlacementWorker& worker : problem.workers) {
      worker.read_bytes_per_s = 1e9 * (1 + random() % 50);
    }
    const auto placement = Place(problem);
    if (!placement.ok()) {
      EXPECT_EQ(placement.status().code(), absl::StatusCode::kResourceExhausted);
      continue;
    }
    ++placed;
    CheckPlacement(problem, *placement);
    EXPECT_GE(placement->gap(), 0);
    EXPECT_EQ(Place(problem)->SerializeAsString(), placement->SerializeAsString());
    if (HasFailure()) return;
  }
  EXPECT_GT(placed, 200);
  EXPECT_LT(placed, 990);
}

TEST_F(Placing, RetrievalHeadsGoWhereMemoryIs) {
  // The first worker has room for the scratch and a few local heads.
  PlacementProblem problem = SmallProblem(config_, plan_, {4 * kMiB, kPlenty});
  const auto placement = Place(problem);
  ASSERT_TRUE(placement.ok()) << placement.status();
  CheckPlacement(problem, *placement);
  EXPECT_EQ(RetrievalHeads(placement->workers(0)), 0);
  EXPECT_EQ(RetrievalHeads(placement->workers(1)), 3);
}

TEST_F(Placing, LocalHeadsAndColumnsGoBySpeed) {
  PlacementProblem problem = SmallProblem(config_, plan_, {kPlenty, kPlenty});
  problem.workers[1].read_bytes_per_s = 3e10;
  const auto placement = Place(problem);
  ASSERT_TRUE(placement.ok()) << placement.status();
  EXPECT_GT(placement->workers(1).heads_size(), placement->workers(0).heads_size());
  EXPECT_EQ(Columns(placement->workers(0)), 128);
  EXPECT_EQ(Columns(placement->workers(1)), 384);
}

TEST_F(Placing, EqualWorkersWithNoiseGetEqualShares) {
  PlacementProblem problem = SmallProblem(config_, plan_, {kPlenty, kPlenty});
  problem.workers[1].read_bytes_per_s = 1.2e10;
  const auto placement = Place(problem);
  ASSERT_TRUE(placement.ok()) << placement.status();
  EXPECT_EQ(Columns(placement->workers(0)), Columns(placement->workers(1)));
}

TEST_F(Placing, MoreWorkersThanHeadsLeaveZeroShares) {
  PlacementProblem problem = SmallProblem(config_, plan_, std::vector<int64_t>(40, kPlenty));
  problem.stripes = false;
  const auto placement = Place(problem);
  ASSERT_TRUE(placement.ok()) << placement.status();
  CheckPlacement(problem, *placement);
  const auto& shares = placement->workers();
  EXPECT_TRUE(std::any_of(shares.begin(), shares.end(), [](const v1::WorkerShare& share) {
    return share.heads_size() == 0 && share.cache_bytes() == 0 && share.class_pages_size() == 0;
  }));
}

TEST_F(Placing, WorkerWithoutMemoryHoldsNothing) {
  PlacementProblem problem = SmallProblem(config_, plan_, {kPlenty, kPlenty});
  // Just the scratch and the norms that every worker has.
  problem.workers[0].memory_bytes =
      ScratchBytes(problem, config_.kv_heads, config_.intermediate_size, config_.vocab_size) +
      (2 * config_.layers + 1) * config_.hidden_size * 4;
  const auto placement = Place(problem);
  ASSERT_TRUE(placement.ok()) << placement.status();
  EXPECT_EQ(placement->workers(0).heads_size(), 0);
  EXPECT_EQ(Columns(placement->workers(0)), 0);
  EXPECT_EQ(placement->workers(1).heads_size(), config_.layers * config_.kv_heads);
  CheckPlacement(problem, *placement);
}

TEST_F(Placing, ExactPrefillCountsTheWholePromptInScratch) {
  const Plan exact = SmallPlan("exact");
  const PlacementProblem streaming = SmallProblem(config_, plan_, {kPlenty});
  const PlacementProblem whole = SmallProblem(config_, exact, {kPlenty});
  EXPECT_GE(ScratchBytes(whole, 4, 512, 1000) - ScratchBytes(streaming, 4, 512, 1000),
            whole.max_context * config_.hidden_size * 4);
}

TEST_F(Placing, RefusalNamesWhatIsMissing) {
  const auto refused = Place(SmallProblem(config_, plan_, {8 * kMiB, 4 * kMiB}));
  ASSERT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  const std::string why(refused.status().message());
  for (const char* part : {"context of 4096", "4 sequences", "would need", "w0 has ", "of 8388608",
                           "w1 has ", "of 4194304"}) {
    EXPECT_THAT(why, testing::HasSubstr(part));
  }
}

TEST_F(Placing, RefusalNamesTheLargestContextThatFits) {
  PlacementProblem problem = SmallProblem(config_, plan_, {15 * kMiB});
  const std::string why(Place(problem).status().message());
  const size_t at = why.find("A context of ");
  ASSERT_NE(at, std::string::npos) << why;
  problem.max_context = std::stoll(why.substr(at + 13));
  EXPECT_TRUE(Place(problem).ok()) << why;
  ++problem.max_context;
  EXPECT_FALSE(Place(problem).ok()) << why;
}

TEST_F(Placing, RefusalSaysWhenNoContextFits) {
  const auto refused = Place(SmallProblem(config_, plan_, {kMiB, 2 * kMiB}));
  EXPECT_THAT(std::string(refused.status().message()), testing::HasSubstr("No context fits"));
}

TEST_F(Placing, WorkerBelowItsScratchIsNamed) {
  const auto refused = Place(SmallProblem(config_, plan_, {kPlenty, 1000}));
  ASSERT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()), testing::HasSubstr("scratch of w1"));
}

TEST_F(Placing, NoWorkers) {
  EXPECT_EQ(Place(SmallProblem(config_, plan_, {})).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace headlong
