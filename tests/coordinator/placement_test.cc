// Placements: every part of the model once, under every worker's memory, by memory and by speed;
// refusals that say what would help.
#include "coordinator/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <utility>

#include "cache/lane_class.h"
#include "tests/coordinator/placement_case.h"

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

// What the worker itself will count for its share.
int64_t CacheBytesOf(const PlacementProblem& problem, const v1::WorkerShare& share) {
  std::vector<LaneId> lanes;
  for (const v1::HeadShare& head : share.heads()) {
    lanes.push_back({static_cast<int>(head.layer()), static_cast<int>(head.head())});
  }
  int64_t bytes = 0;
  const std::vector<LaneClass> classes = BuildLaneClasses(*problem.plan, lanes);
  EXPECT_EQ(share.class_pages_size(), static_cast<int>(classes.size()));
  for (size_t i = 0; i < classes.size(); ++i) {
    const int64_t one = PagesReserved(problem.plan->rule(classes[i].policy, problem.max_context),
                                      problem.max_context);
    EXPECT_GE(share.class_pages(static_cast<int>(i)), one) << "one sequence must fit";
    bytes += share.class_pages(static_cast<int>(i)) * PageBytes(*problem.plan, classes[i],
                                                                problem.config->head_dim,
                                                                problem.cache_element_bytes) +
             problem.max_sequences * SumBytes(*problem.plan, classes[i], problem.config->head_dim);
  }
  return bytes;
}

void CheckCoversOnce(const PlacementProblem& problem, const v1::Placement& placement) {
  std::map<std::pair<uint32_t, uint32_t>, int> owners;
  uint32_t column = 0;
  uint32_t row = 0;
  ASSERT_EQ(placement.workers_size(), static_cast<int>(problem.workers.size()));
  for (const v1::WorkerShare& share : placement.workers()) {
    for (const v1::HeadShare& head : share.heads()) {
      EXPECT_EQ(head.stripe_count(), 1u) << "whole heads only";
      ++owners[{head.layer(), head.head()}];
      const HeadPolicy& policy = problem.plan->policy(head.layer(), head.head());
      EXPECT_EQ(head.policy(), policy.name);
      EXPECT_EQ(head.retrieval(), policy.full());
    }
    ASSERT_EQ(share.mlp_columns_size(), problem.config->layers);
    for (const v1::Range& range : share.mlp_columns()) {
      EXPECT_EQ(range.begin(), column);
      EXPECT_EQ(range.end(), share.mlp_columns(0).end());
    }
    column = share.mlp_columns(0).end();
    EXPECT_EQ(share.vocab_rows().begin(), row);
    row = share.vocab_rows().end();
  }
  EXPECT_EQ(column, static_cast<uint32_t>(problem.config->intermediate_size));
  EXPECT_EQ(row, static_cast<uint32_t>(problem.config->vocab_size));
  EXPECT_EQ(owners.size(), size_t(problem.config->layers * problem.config->kv_heads));
  for (const auto& [head, count] : owners) EXPECT_EQ(count, 1);
}

void CheckMemory(const PlacementProblem& problem, const v1::Placement& placement) {
  for (int i = 0; i < placement.workers_size(); ++i) {
    const v1::WorkerShare& share = placement.workers(i);
    EXPECT_EQ(static_cast<int64_t>(share.cache_bytes()), CacheBytesOf(problem, share));
    EXPECT_LE(share.weights_bytes() + share.cache_bytes() + share.scratch_bytes(),
              static_cast<uint64_t>(problem.workers[i].memory_bytes))
        << share.worker_id();
  }
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
    CheckCoversOnce(problem, *placement);
    CheckMemory(problem, *placement);
    EXPECT_GE(placement->gap(), 0);
    EXPECT_EQ(Place(problem)->SerializeAsString(), placement->SerializeAsString());
    if (HasFailure()) return;
  }
  EXPECT_GT(placed, 200);
  EXPECT_LT(placed, 990);
}

TEST_F(Placing, RetrievalHeadsGoWhereMemoryIs) {
  const auto placement = Place(SmallProblem(config_, plan_, {kPlenty, 3 * kPlenty}));
  ASSERT_TRUE(placement.ok()) << placement.status();
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
  const PlacementProblem problem = SmallProblem(config_, plan_, std::vector<int64_t>(40, kPlenty));
  const auto placement = Place(problem);
  ASSERT_TRUE(placement.ok()) << placement.status();
  CheckCoversOnce(problem, *placement);
  CheckMemory(problem, *placement);
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
  CheckMemory(problem, *placement);
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
