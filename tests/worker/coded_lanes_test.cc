// A model whose keys and values are stored as codes: near the logits of plain numbers, and the same
// whatever the chunks and however many workers hold the stripes of a head.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "tests/support/paths.h"
#include "tests/worker/golden_prompt.h"
#include "tests/worker/local_workers.h"
#include "tests/worker/logits.h"

namespace headlong {
namespace {

constexpr int kTokens = 4096;

// All heads in full, or two of them and local ones, as codes of these types.
std::string PlanOf(const std::string& keys, const std::string& values, bool local,
                   const std::string& rotation = "none") {
  const std::string storage =
      absl::StrCat(R"("sinks":4,"rotation":")", rotation, R"(","storage":{"k":")", keys,
                   R"(","v":")", values, R"("})");
  return absl::StrCat(R"({"version":1,"layers":8,"kv_heads":4,"policies":{"all":{)", storage,
                      R"(},"local":{)", storage, R"(,"window_tokens":256}},"default":")",
                      local ? "local" : "all",
                      R"(","heads":[{"layer":6,"heads":[0,1],"policy":"all"}]})");
}

class CodedLanes : public ::testing::TestWithParam<On> {
 protected:
  void SetUp() override {
    const auto devices = DevicesOf(GetParam());
    if (!devices.ok()) GTEST_SKIP() << devices.status();
    options_.devices = *devices;
    options_.model_dir = SourceDir() / "models" / "needle-10m";
    options_.max_context = 6144;
    const auto tokens = GoldenPromptTokens(kTokens);
    ASSERT_TRUE(tokens.ok()) << tokens.status();
    tokens_ = *tokens;
  }

  // After kTokens tokens in chunks, then after five more, one by one.
  std::vector<float> Logits(const std::string& plan, int chunk, const std::vector<int>& stripes) {
    options_.plan = plan;
    options_.stripes = stripes;
    options_.workers = std::max(1, static_cast<int>(stripes.size()));
    auto workers = LocalWorkers::Begin(options_);
    if (!workers.ok()) {
      ADD_FAILURE() << workers.status();
      return {};
    }
    auto logits = (*workers)->Prefill(1, tokens_, chunk, kTokens);
    if (!logits.ok()) {
      ADD_FAILURE() << logits.status();
      return {};
    }
    std::vector<float> all = *logits;
    for (int i = 0; i < 5; ++i) {
      logits = (*workers)->Extend(1, kTokens + i, {tokens_[i]});
      all.insert(all.end(), logits->begin(), logits->end());
    }
    return all;
  }

  LocalOptions options_;
  std::vector<uint32_t> tokens_;
};

// The largest of all differences of logits.
TEST_P(CodedLanes, Int8StaysNearFp32) {
  const std::vector<float> plain = Logits("full", 512, {});
  const double int8 = Difference(Logits(PlanOf("int8", "int8", false), 512, {}), plain);
  const double fp8 = Difference(Logits(PlanOf("fp8", "fp8", false), 512, {}), plain);
  const double int4 = Difference(Logits(PlanOf("int4", "int4", false), 512, {}), plain);
  const double turned =
      Difference(Logits(PlanOf("int8", "int8", false, "hadamard"), 512, {}), plain);
  RecordProperty("int8", std::to_string(int8));
  RecordProperty("int8 turned", std::to_string(turned));
  RecordProperty("fp8", std::to_string(fp8));
  RecordProperty("int4", std::to_string(int4));
  EXPECT_LE(int8, 0.8);
  EXPECT_LE(turned, 1.5);  // this model has no outliers that a rotation could spread
  EXPECT_GT(int8, 0) << "nothing was coded";
  EXPECT_LT(int8, fp8);
  EXPECT_LT(fp8, int4);
}

// Other chunks and other workers round sums differently, by which a code is now and then one step
// beside, and so on from layer to layer: far less than what coding changes, but not nothing. That a
// layer alone does not depend on chunks is tested to 2e-5 (attention_cpu_test).
TEST_P(CodedLanes, AreMuchTheSameInAnyChunksAndStripes) {
  constexpr double kSteps = 0.25;
  const std::string plan = PlanOf("int8", "int8", true);
  const std::vector<float> one = Logits(plan, 512, {});
  EXPECT_LE(Difference(Logits(plan, 77, {}), one), kSteps);
  EXPECT_LE(Difference(Logits(plan, 512, {2, 1, 4}), one), kSteps);
}

// With plain heads in the same layers, and the first tokens plain.
TEST_P(CodedLanes, KeysAndValuesMayBeOfAnyTypes) {
  const std::vector<float> plain = Logits("full", 512, {});
  constexpr double kInt4 = 6, kFp8 = 3;  // on all heads: what coding changes
  for (const auto& [keys, values, most] :
       {std::tuple{"int8", "int4", kInt4}, {"fp8", "int8", kFp8}, {"int8", "fp8", kFp8}}) {
    const double difference = Difference(Logits(PlanOf(keys, values, false), 200, {}), plain);
    EXPECT_LE(difference, most) << keys << '/' << values;
    EXPECT_GT(difference, 0) << "nothing was coded";
  }
}

INSTANTIATE_TEST_SUITE_P(On, CodedLanes, ::testing::Values(On::kCpu, On::kCuda),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace headlong
