// Models with ALiBi: local heads and stripes against the independent pass in fp64 that made
// families/mpt/reference.json (tests/golden/make_mpt.py), and what plans may not ask for.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "common/json.h"
#include "tests/support/paths.h"
#include "tests/worker/local_workers.h"

namespace headlong {
namespace {

constexpr double kTolerance = 1e-3;  // absolute, on logits in fp32

class AlibiTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.model_dir = GoldenPath("families") / "mpt";
    const auto reference = ReadJsonFile(options_.model_dir / "reference.json");
    ASSERT_TRUE(reference.ok()) << reference.status();
    reference_ = *reference;
    ids_ = reference_["ids"].get<std::vector<uint32_t>>();
  }

  void ExpectLogits(const Json& positions, int chunk) {
    const auto workers = LocalWorkers::Begin(options_);
    ASSERT_TRUE(workers.ok()) << workers.status();
    uint64_t id = 0;
    for (const Json& position : positions) {
      const int length = position["prompt_tokens"].get<int>();
      const auto logits = (*workers)->Prefill(++id, {ids_.begin(), ids_.begin() + length}, chunk);
      ASSERT_TRUE(logits.ok()) << logits.status();
      for (const Json& pair : position["last_logits_top20"]) {
        EXPECT_NEAR((*logits)[pair[0].get<int>()], pair[1].get<double>(), kTolerance)
            << "after " << length << " in chunks of " << chunk;
      }
      ASSERT_TRUE((*workers)->End(id).ok());
    }
  }

  LocalOptions options_;
  Json reference_;
  std::vector<uint32_t> ids_;
};

Json LocalPlan(const Json& local) {
  Json plan = {{"version", 1}, {"layers", 2}, {"kv_heads", 3}, {"default", "near"}};
  plan["policies"]["all"] = Json::object();
  plan["policies"]["near"] = {{"sinks", local["sinks"]}, {"window_tokens", local["window_tokens"]}};
  plan["heads"] = Json::array();
  for (const Json& head : local["full_heads"]) {
    plan["heads"].push_back({{"layer", head[0]}, {"heads", {head[1]}}, {"policy", "all"}});
  }
  return plan;
}

// Prefill in chunks and token by token; windows that are left, sinks at their true distance.
TEST_F(AlibiTest, LocalHeadsEqualTheirFormula) {
  for (const Json& local : reference_["local"]) {
    options_.plan = LocalPlan(local).dump();
    for (const int workers : {1, 3}) {
      options_.workers = workers;
      for (const int chunk : {200, 33, 1}) ExpectLogits(local["positions"], chunk);
    }
  }
}

TEST_F(AlibiTest, StripesEqualWholeHeads) {
  options_.workers = 3;
  options_.stripes = {1, 2, 1};
  for (const int chunk : {64, 7}) ExpectLogits(reference_["positions"], chunk);
}

TEST_F(AlibiTest, TheBuiltInLocalPlanIsAWindowAlone) {
  options_.plan = "local";
  const auto workers = LocalWorkers::Begin(options_);
  ASSERT_TRUE(workers.ok()) << workers.status();
  const HeadPolicy& policy = (*workers)->plan().policy(0, 0);
  EXPECT_EQ(policy.sinks, 0);
  EXPECT_EQ(policy.window_tokens, 256);
  EXPECT_EQ(policy.compensation, Compensation::kNone);
}

TEST_F(AlibiTest, RefusesACompensationToken) {
  Json plan = LocalPlan(reference_["local"][0]);
  plan["policies"]["near"]["compensation"] = "mean";
  options_.plan = plan.dump();
  const auto begun = LocalWorkers::Begin(options_);
  ASSERT_FALSE(begun.ok());
  EXPECT_EQ(begun.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(begun.status().message().find("policies[\"near\"]: compensation: must be \"none\" for "
                                          "a model with ALiBi"),
            std::string_view::npos)
      << begun.status();
}

// Before anything is loaded, and so without a GPU.
TEST_F(AlibiTest, IsRefusedOnAGpu) {
  options_.devices = {{0, "a GPU", ""}};
  const auto begun = LocalWorkers::Begin(options_);
  EXPECT_EQ(begun.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(begun.status().message().find("start them with --device cpu"), std::string_view::npos)
      << begun.status();
}

// Keys in codes and on fewer directions: nothing of it turns with positions.
TEST_F(AlibiTest, CodedLanesAreClose) {
  Json plan = LocalPlan(reference_["local"][1]);
  plan["policies"]["all"]["storage"] = {{"k", "int8"}, {"v", "int8"}};
  options_.plan = plan.dump();
  const auto workers = LocalWorkers::Begin(options_);
  ASSERT_TRUE(workers.ok()) << workers.status();
  const Json& position = reference_["local"][1]["positions"].back();
  const auto logits = (*workers)->Prefill(1, ids_, 50);
  ASSERT_TRUE(logits.ok()) << logits.status();
  for (const Json& pair : position["last_logits_top20"]) {
    EXPECT_NEAR((*logits)[pair[0].get<int>()], pair[1].get<double>(), 0.05);
  }
}

}  // namespace
}  // namespace headlong
