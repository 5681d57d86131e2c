// Heads that store their keys and values in bases of their own: with as many numbers as before
// nothing changes, with fewer it is the same on any workers and in any chunks.
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "cache/projections.h"
#include "tests/support/orthonormal.h"
#include "tests/support/paths.h"
#include "tests/worker/golden_prompt.h"
#include "tests/worker/local_workers.h"
#include "tests/worker/logits.h"

namespace headlong {
namespace {

constexpr int kLayers = 8, kHeads = 4, kHeadDim = 64;

std::shared_ptr<const Projections> RandomProjections(LaneRank rank) {
  Projections::Heads heads;
  for (int at = 0; at < kLayers * kHeads; ++at) {
    heads[{at / kHeads, at % kHeads}] = {RandomOrthonormal(at + 1, rank.keys, kHeadDim),
                                         RandomOrthonormal(at + 99, rank.values, kHeadDim)};
  }
  return Projections::Create(kHeadDim, std::move(heads)).value();
}

// Two heads in full, the others local; `fields` of both policies, `root` of the plan.
std::string PlanOf(const std::string& fields, const std::string& root = "") {
  return absl::StrCat(R"({"version":1,"layers":8,"kv_heads":4,)", root, R"("policies":{"all":{)",
                      fields, R"(},"local":{)", fields, fields.empty() ? "" : ",",
                      R"("sinks":4,"window_tokens":64}},"default":"local",)",
                      R"("heads":[{"layer":6,"heads":[0,1],"policy":"all"}]})");
}

std::string Ranks(LaneRank rank) {
  std::string sides;
  if (rank.keys > 0) sides = absl::StrCat(R"("k":)", rank.keys);
  if (rank.values > 0) absl::StrAppend(&sides, sides.empty() ? "" : ",", R"("v":)", rank.values);
  return absl::StrCat(R"("rank":{)", sides, "}");
}

class ProjectedLanes : public ::testing::TestWithParam<On> {
 protected:
  void SetUp() override {
    const auto devices = DevicesOf(GetParam());
    if (!devices.ok()) GTEST_SKIP() << devices.status();
    options_.devices = *devices;
    options_.model_dir = SourceDir() / "models" / "needle-10m";
    options_.max_context = 2048;
    const auto tokens = GoldenPromptTokens(600);
    ASSERT_TRUE(tokens.ok()) << tokens.status();
    tokens_ = *tokens;
  }

  // After all tokens, in chunks, and after three more, one by one.
  std::vector<float> Logits(const std::string& plan, int chunk = 256,
                            const std::vector<int>& stripes = {}) {
    options_.plan = plan;
    options_.stripes = stripes;
    options_.workers = std::max<int>(1, static_cast<int>(stripes.size()));
    auto workers = LocalWorkers::Begin(options_);
    if (!workers.ok()) {
      ADD_FAILURE() << workers.status();
      return {};
    }
    auto logits = (*workers)->Prefill(1, tokens_, chunk, static_cast<int>(tokens_.size()));
    std::vector<float> all = *logits;
    for (int i = 0; i < 3; ++i) {
      logits = (*workers)->Extend(1, static_cast<int>(tokens_.size()) + i, {tokens_[i]});
      all.insert(all.end(), logits->begin(), logits->end());
    }
    return all;
  }

  std::string Projected(LaneRank rank, const std::string& more = "") {
    options_.projections = RandomProjections(rank);
    return PlanOf(Ranks(rank) + more, absl::StrCat(R"("projections":{"file":"none","sha256":")",
                                                   options_.projections->digest(), R"("},)"));
  }

  LocalOptions options_;
  std::vector<uint32_t> tokens_;
};

TEST_P(ProjectedLanes, WithAllNumbersEqualTheModel) {
  const std::vector<float> plain = Logits(PlanOf(""));
  EXPECT_LE(Difference(Logits(PlanOf(R"("rotation":"hadamard")")), plain), 1e-3);
  for (const LaneRank rank : {LaneRank{64, 64}, LaneRank{64, 0}, LaneRank{0, 64}}) {
    EXPECT_LE(Difference(Logits(Projected(rank)), plain), 1e-3) << LaneRankName(rank);
  }
}

TEST_P(ProjectedLanes, WithFewerNumbersAreTheSameInAnyChunksAndStripes) {
  const std::vector<float> plain = Logits(PlanOf(""));
  const std::string plan = Projected({48, 32});
  const std::vector<float> one = Logits(plan);
  EXPECT_GT(Difference(one, plain), 0.1) << "nothing was left out";
  EXPECT_LE(Difference(Logits(plan, 77), one), 2e-3);
  EXPECT_LE(Difference(Logits(plan, 256, {2, 1, 4}), one), 2e-3);
}

TEST_P(ProjectedLanes, MayBeCodedToo) {
  const std::vector<float> plain = Logits(Projected({48, 48}));
  const std::vector<float> coded =
      Logits(Projected({48, 48}, R"(,"storage":{"k":"int8","v":"int8"})"));
  EXPECT_GT(Difference(coded, plain), 0);
  EXPECT_LE(Difference(coded, plain), 1.0);
}

TEST_P(ProjectedLanes, AreRefusedWithoutTheirProjections) {
  const std::string plan = Projected({48, 48});
  options_.projections = nullptr;
  options_.plan = plan;
  const auto workers = LocalWorkers::Begin(options_);
  EXPECT_EQ(workers.status().message(), "configure: projection of layer 0 head 0: is missing");
}

INSTANTIATE_TEST_SUITE_P(On, ProjectedLanes, ::testing::Values(On::kCpu, On::kCuda),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace headlong
