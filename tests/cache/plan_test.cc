#include "cache/plan.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "common/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/paths.h"

namespace headlong {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const PlanShape kShape{8, 4, std::string(64, 'a'), {}, 64};

constexpr char kExample[] = R"({"version":1,"layers":8,"kv_heads":4,"block_tokens":16,
  "prefill":"streaming",
  "policies":{"retrieval":{},"local":{"sinks":4,"window_tokens":256,"compensation":"mean"},
              "wide":{"sinks":4,"window_tokens":1024,"compensation":"mean"}},
  "default":"local",
  "heads":[{"layer":6,"heads":[0,1],"policy":"retrieval"},
           {"layer":0,"heads":[2],"policy":"wide"}]})";

// The example after an RFC 6902 patch, e.g. [{"op":"remove","path":"/default"}].
std::string Patched(const std::string& patch) {
  return Json::parse(kExample).patch(Json::parse(patch)).dump();
}

TEST(PlanTest, ReadsTheExample) {
  const auto plan = Plan::FromJson(kExample, kShape, "plan.json");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->block_tokens(), 16);
  EXPECT_EQ(plan->prefill(), PrefillMode::kStreaming);
  ASSERT_EQ(plan->policies().size(), 3u);
  EXPECT_EQ(plan->policies()[0].name, "local");
  EXPECT_EQ(plan->policies()[1].name, "retrieval");
  EXPECT_EQ(plan->policies()[2].name, "wide");
  for (int layer = 0; layer < 8; ++layer) {
    for (int head = 0; head < 4; ++head) {
      const std::string expected = layer == 6 && head < 2    ? "retrieval"
                                   : layer == 0 && head == 2 ? "wide"
                                                             : "local";
      EXPECT_EQ(plan->policy(layer, head).name, expected) << layer << " " << head;
    }
  }
  EXPECT_TRUE(plan->policy(6, 0).full());
  EXPECT_EQ(plan->policy(0, 2).window_tokens, 1024);
  EXPECT_EQ(plan->policy(0, 0).sinks, 4);
}

TEST(PlanTest, FillsInWhatIsAbsent) {
  const auto plan = Plan::FromJson(
      R"({"version":1,"layers":8,"kv_heads":4,"policies":{"x":{"window_tokens":7}},"default":"x"})",
      kShape, "plan.json");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->block_tokens(), 16);
  EXPECT_EQ(plan->prefill(), PrefillMode::kStreaming);
  EXPECT_EQ(plan->policy(7, 3).sinks, 0);
  EXPECT_EQ(plan->policy(7, 3).compensation, Compensation::kMean);
}

TEST(PlanTest, ExactPrefillAndBlocksReachTheRules) {
  const auto plan = Plan::FromJson(Patched(R"([{"op":"replace","path":"/prefill","value":"exact"},
                  {"op":"replace","path":"/block_tokens","value":64}])"),
                                   kShape, "plan.json");
  ASSERT_TRUE(plan.ok()) << plan.status();
  const LaneRule rule = plan->rule(plan->policy_index(0, 0), 30'000);
  EXPECT_EQ(rule.window, 6000);
  EXPECT_EQ(rule.block_tokens, 64);
  EXPECT_EQ(rule.sinks, 4);
}

TEST(PlanTest, PoliciesMaySayWhatKeysAndValuesAreStoredAs) {
  const auto plan = Plan::FromJson(Patched(
                                       R"([{"op":"add","path":"/policies/retrieval",
               "value":{"sinks":4,"storage":{"k":"int8","v":"int4"}}},
              {"op":"add","path":"/policies/local/storage","value":{"v":"fp8"}}])"),
                                   kShape, "plan.json");
  ASSERT_TRUE(plan.ok()) << plan.status();
  const LaneFormat full = plan->rule(plan->policy_index(6, 0), 100).format(64, 2);
  EXPECT_TRUE(plan->policy(6, 0).full());
  EXPECT_EQ(full.keys, (RowFormat{Storage::kInt8, 64}));
  EXPECT_EQ(full.values, (RowFormat{Storage::kInt4, 64}));
  EXPECT_EQ(full.sinks, 4);
  const LaneRule local = plan->rule(plan->policy_index(7, 3), 100);
  EXPECT_EQ(local.format(64, 4).keys, (RowFormat{Storage::kFloat32, 64}));
  EXPECT_EQ(local.format(64, 4).values, (RowFormat{Storage::kFloat8, 64}));
  EXPECT_EQ(local.format(64, 4).sinks, 4);
  const int64_t token = 64 * 4 + 64 + 2, plain = 4 * 2 * 64 * 4, sums = 2 * 64 * 4;
  EXPECT_EQ(LaneBytes(local, 16, 64, 4), 16 * token + plain + sums);
  const auto again = Plan::FromJson(plan->ToJson(), kShape, "plan.json");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->policies(), plan->policies());
}

struct Refusal {
  const char* patch;
  const char* words;
};

class PlanRefusalTest : public testing::TestWithParam<Refusal> {};

TEST_P(PlanRefusalTest, NamesTheEntry) {
  const auto plan = Plan::FromJson(Patched(GetParam().patch), kShape, "plan.json");
  ASSERT_FALSE(plan.ok()) << GetParam().patch;
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(plan.status().message()), StartsWith(GetParam().words));
}

const Refusal kRefusals[] = {
    {R"([{"op":"add","path":"/colour","value":1}])", "plan.json: unknown field \"colour\""},
    {R"([{"op":"remove","path":"/version"}])", "plan.json: version: must be an integer"},
    {R"([{"op":"replace","path":"/version","value":2}])",
     "plan.json: version: is 2, this program reads 1"},
    {R"([{"op":"replace","path":"/version","value":1.0}])",
     "plan.json: version: must be an integer"},
    {R"([{"op":"replace","path":"/layers","value":9}])",
     "plan.json: layers: the plan is for 9, the model has 8"},
    {R"([{"op":"remove","path":"/layers"}])", "plan.json: layers: must be an integer"},
    {R"([{"op":"replace","path":"/kv_heads","value":8}])",
     "plan.json: kv_heads: the plan is for 8, the model has 4"},
    {R"([{"op":"replace","path":"/kv_heads","value":0}])",
     "plan.json: kv_heads: must be an integer in [1,"},
    {R"([{"op":"replace","path":"/block_tokens","value":24}])",
     "plan.json: block_tokens: must be a multiple of 16, is 24"},
    {R"([{"op":"replace","path":"/block_tokens","value":0}])",
     "plan.json: block_tokens: must be an integer in [16, 4096], is 0"},
    {R"([{"op":"add","path":"/policies/local/storage","value":{"k":"int3"}}])",
     "plan.json: policies[\"local\"]: storage: k: must be \"fp8\", \"int8\", \"int4\", "
     "\"fp16\", \"bf16\" or \"fp32\", is "
     "\"int3\""},
    {R"([{"op":"add","path":"/policies/local/storage","value":{"keys":"int8"}}])",
     "plan.json: policies[\"local\"]: storage: unknown field \"keys\""},
    {R"([{"op":"add","path":"/policies/retrieval/storage","value":"int8"}])",
     "plan.json: policies[\"retrieval\"]: storage: must be an object"},
    {R"([{"op":"replace","path":"/prefill","value":"eager"}])",
     "plan.json: prefill: must be \"streaming\" or \"exact\", is \"eager\""},
    {R"([{"op":"replace","path":"/prefill","value":1}])", "plan.json: prefill: must be a string"},
    {R"([{"op":"remove","path":"/policies"}])", "plan.json: policies: must be an object"},
    {R"([{"op":"replace","path":"/policies","value":{}}])",
     "plan.json: policies: must be an object that names a policy"},
    {R"([{"op":"replace","path":"/policies","value":[]}])", "plan.json: policies: must be an"},
    {R"([{"op":"replace","path":"/policies/wide","value":3}])",
     "plan.json: policies[\"wide\"]: must be an object, is 3"},
    {R"([{"op":"add","path":"/policies/wide/color","value":3}])",
     "plan.json: policies[\"wide\"]: unknown field \"color\""},
    {R"([{"op":"add","path":"/policies/wide/rank","value":3}])",
     "plan.json: policies[\"wide\"]: rank: must be an object, is 3"},
    {R"([{"op":"add","path":"/policies/wide/rank","value":{"k":40}}])",
     "plan.json: policies[\"wide\"]: rank: k: must be a multiple of 16, is 40"},
    {R"([{"op":"add","path":"/policies/wide/rank","value":{"v":80}}])",
     "plan.json: policies[\"wide\"]: rank: v: must be an integer in [16, 64], is 80"},
    {R"([{"op":"add","path":"/policies/wide/rank","value":{"v":48}}])",
     "plan.json: projections: is missing, and policy \"wide\" has a rank"},
    {R"([{"op":"add","path":"/projections","value":{"file":"x","sha256":"00"}}])",
     "plan.json: projections: no policy has a rank"},
    {R"([{"op":"add","path":"/policies/wide/rank","value":{"v":48}},
         {"op":"add","path":"/projections","value":{"file":"x","sha256":"00"}}])",
     "plan.json: projections: sha256: must be 64 lower-case hex digits, is \"00\""},
    {R"([{"op":"add","path":"/policies/wide/rotation","value":"fourier"}])",
     "plan.json: policies[\"wide\"]: rotation: must be \"none\" or \"hadamard\""},
    {R"([{"op":"add","path":"/policies/wide/rank","value":{"v":48}},
         {"op":"add","path":"/policies/wide/rotation","value":"hadamard"}])",
     "plan.json: policies[\"wide\"]: rotation: has no meaning beside rank"},
    {R"([{"op":"replace","path":"/policies/wide/window_tokens","value":0}])",
     "plan.json: policies[\"wide\"]: window_tokens: must be an integer in [1, 2147483647], is 0"},
    {R"([{"op":"replace","path":"/policies/wide/window_tokens","value":18446744073709551615}])",
     "plan.json: policies[\"wide\"]: window_tokens: must be an integer in [1,"},
    {R"([{"op":"replace","path":"/policies/wide/sinks","value":-1}])",
     "plan.json: policies[\"wide\"]: sinks: must be an integer in [0, 2147483647], is -1"},
    {R"([{"op":"replace","path":"/policies/wide/compensation","value":"median"}])",
     "plan.json: policies[\"wide\"]: compensation: must be \"mean\" or \"none\", is \"median\""},
    {R"([{"op":"add","path":"/policies/retrieval/sinks","value":4}])",
     "plan.json: policies[\"retrieval\"]: sinks: has no meaning without window_tokens"},
    {R"([{"op":"add","path":"/policies/retrieval/compensation","value":"none"}])",
     "plan.json: policies[\"retrieval\"]: compensation: has no meaning without window_tokens"},
    {R"([{"op":"add","path":"/policies/","value":{}}])",
     "plan.json: policies[\"\"]: a policy needs a name"},
    {R"([{"op":"remove","path":"/default"}])", "plan.json: default: must be a string"},
    {R"([{"op":"replace","path":"/default","value":"narrow"}])",
     "plan.json: default: \"narrow\" is not in policies"},
    {R"([{"op":"replace","path":"/heads","value":{}}])", "plan.json: heads: must be an array"},
    {R"([{"op":"replace","path":"/heads/1","value":7}])",
     "plan.json: heads[1]: must be an object, is 7"},
    {R"([{"op":"add","path":"/heads/1/head","value":7}])",
     "plan.json: heads[1]: unknown field \"head\""},
    {R"([{"op":"replace","path":"/heads/1/layer","value":8}])",
     "plan.json: heads[1]: layer 8 is not in [0, 7]"},
    {R"([{"op":"replace","path":"/heads/1/layer","value":-1}])",
     "plan.json: heads[1]: layer -1 is not in [0, 7]"},
    {R"([{"op":"replace","path":"/heads/1/layer","value":18446744073709551615}])",
     "plan.json: heads[1]: layer 18446744073709551615 is not in [0, 7]"},
    {R"([{"op":"replace","path":"/heads/1/layer","value":"0"}])",
     "plan.json: heads[1]: layer: must be an integer in [0, 7], is \"0\""},
    {R"([{"op":"remove","path":"/heads/1/layer"}])", "plan.json: heads[1]: layer: must be an"},
    {R"([{"op":"replace","path":"/heads/1/heads","value":[2,4]}])",
     "plan.json: heads[1]: head 4 is not in [0, 3]"},
    {R"([{"op":"replace","path":"/heads/1/heads","value":[0.5]}])",
     "plan.json: heads[1]: head: must be an integer in [0, 3], is 0.5"},
    {R"([{"op":"replace","path":"/heads/1/heads","value":[]}])",
     "plan.json: heads[1]: heads: must be an array of heads"},
    {R"([{"op":"replace","path":"/heads/1/heads","value":2}])",
     "plan.json: heads[1]: heads: must be an array of heads, is 2"},
    {R"([{"op":"remove","path":"/heads/1/heads"}])",
     "plan.json: heads[1]: heads: must be an array of heads, is missing"},
    {R"([{"op":"replace","path":"/heads/1/policy","value":"narrow"}])",
     "plan.json: heads[1]: policy: \"narrow\" is not in policies"},
    {R"([{"op":"remove","path":"/heads/1/policy"}])", "plan.json: heads[1]: policy: must be a"},
    {R"([{"op":"replace","path":"/heads/1/heads","value":[2,2]}])",
     "plan.json: heads[1]: layer 0 head 2 is named twice"},
    {R"([{"op":"replace","path":"/heads/1",
          "value":{"layer":6,"heads":[3,1],"policy":"retrieval"}}])",
     "plan.json: heads[1]: layer 6 head 1 is named twice"},
    {R"([{"op":"add","path":"/model_fingerprint","value":"beef"}])",
     "plan.json: model_fingerprint: must be 64 lower-case hex digits, is \"beef\""},
    {R"([{"op":"add","path":"/model_fingerprint",
          "value":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"}])",
     "plan.json: model_fingerprint: the plan is for bbb"},
};
INSTANTIATE_TEST_SUITE_P(All, PlanRefusalTest, testing::ValuesIn(kRefusals));

TEST(PlanTest, RefusesWhatIsNoObject) {
  for (const char* text : {"", "[]", "7", "{", "\"full\"", "{\"version\":1,\"version\":1}"}) {
    const auto plan = Plan::FromJson(text, kShape, "plan.json");
    EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(plan.status().message()), StartsWith("plan.json: ")) << text;
  }
}

TEST(PlanTest, FingerprintIsCheckedWhereBothAreThere) {
  const std::string text = Patched(
      R"([{"op":"add","path":"/model_fingerprint",
           "value":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}])");
  const auto plan = Plan::FromJson(text, kShape, "plan.json");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->ToJson(), HasSubstr("\"model_fingerprint\":\"aaaa"));
  EXPECT_TRUE(Plan::FromJson(text, {8, 4, ""}, "plan.json").ok());
  EXPECT_FALSE(Plan::FromJson(text, {8, 4, std::string(64, 'c')}, "plan.json").ok());
}

TEST(PlanTest, RoundTrip) {
  const std::string odd = Patched(R"([{"op":"replace","path":"/prefill","value":"exact"},
      {"op":"replace","path":"/block_tokens","value":32},
      {"op":"replace","path":"/policies/wide/compensation","value":"none"},
      {"op":"replace","path":"/default","value":"retrieval"}])");
  for (const std::string& text :
       {std::string(kExample), odd, Plan::Full(8, 4).ToJson(), Plan::Local(8, 4).ToJson()}) {
    const auto plan = Plan::FromJson(text, kShape, "plan.json");
    ASSERT_TRUE(plan.ok()) << plan.status();
    const auto again = Plan::FromJson(plan->ToJson(), kShape, "plan.json");
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->ToJson(), plan->ToJson());
    EXPECT_EQ(again->block_tokens(), plan->block_tokens());
    EXPECT_EQ(again->prefill(), plan->prefill());
    for (int layer = 0; layer < 8; ++layer) {
      for (int head = 0; head < 4; ++head) {
        EXPECT_EQ(again->policy(layer, head).name, plan->policy(layer, head).name);
        EXPECT_EQ(again->policy(layer, head).sinks, plan->policy(layer, head).sinks);
        EXPECT_EQ(again->policy(layer, head).window_tokens,
                  plan->policy(layer, head).window_tokens);
        EXPECT_EQ(again->policy(layer, head).compensation, plan->policy(layer, head).compensation);
      }
    }
  }
}

TEST(PlanTest, FromPoliciesOfHeads) {
  HeadPolicy full, local;
  full.name = "all";
  local.name = "some";
  local.sinks = 2;
  local.window_tokens = 32;
  local.compensation = Compensation::kNone;
  const PlanShape shape{2, 2, std::string(64, 'b')};
  const Plan plan = Plan::FromPolicies(shape, {local, full, local, local});
  EXPECT_TRUE(plan.policy(0, 1).full());
  EXPECT_EQ(plan.policy(1, 0), local);
  EXPECT_EQ(plan.ToJson(),
            R"({"version":1,"layers":2,"kv_heads":2,"block_tokens":16,"prefill":"streaming",)"
            R"("model_fingerprint":")" +
                shape.model_fingerprint +
                R"(","policies":{"all":{},"some":{"sinks":2,"window_tokens":32,)"
                R"("compensation":"none"}},"default":"some",)"
                R"("heads":[{"layer":0,"heads":[1],"policy":"all"}]})");
  EXPECT_EQ(Plan::FromJson(plan.ToJson(), shape, "test").value().ToJson(), plan.ToJson());
  // Of equally many heads the first name is the default.
  EXPECT_THAT(Plan::FromPolicies(shape, {local, full, full, local}).ToJson(),
              HasSubstr(R"("default":"all")"));
  local.name = "all";
  EXPECT_DEATH(Plan::FromPolicies(shape, {local, full, local, local}), "one name, one policy");
}

TEST(PlanTest, CanonicalTextNamesOnlyWhatDiffersFromTheDefault) {
  const auto plan = Plan::FromJson(kExample, kShape, "plan.json");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->ToJson(),
            R"({"version":1,"layers":8,"kv_heads":4,"block_tokens":16,"prefill":"streaming",)"
            R"("policies":{"local":{"sinks":4,"window_tokens":256,"compensation":"mean"},)"
            R"("retrieval":{},"wide":{"sinks":4,"window_tokens":1024,"compensation":"mean"}},)"
            R"("default":"local","heads":[{"layer":0,"heads":[2],"policy":"wide"},)"
            R"({"layer":6,"heads":[0,1],"policy":"retrieval"}]})");
}

class PlanLoadTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
  }
  std::filesystem::path folder_;
};

TEST_F(PlanLoadTest, BuiltInPlansNeedNoFile) {
  const auto full = Plan::Load("full", folder_, kShape);
  ASSERT_TRUE(full.ok()) << full.status();
  EXPECT_TRUE(full->policy(7, 3).full());
  const auto local = Plan::Load("local", folder_, kShape);
  ASSERT_TRUE(local.ok()) << local.status();
  EXPECT_EQ(local->policy(0, 0).sinks, 4);
  EXPECT_EQ(local->policy(7, 3).window_tokens, 256);
  EXPECT_EQ(local->policy(7, 3).compensation, Compensation::kMean);
}

TEST_F(PlanLoadTest, TheModelFolderHasTheDefault) {
  auto plan = Plan::Load("", folder_, kShape);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_TRUE(plan->policy(0, 0).full()) << "a model without a plan keeps every head in full";
  Write("plan.json", kExample);
  plan = Plan::Load("", folder_, kShape);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_FALSE(plan->policy(0, 0).full());
  Write("plan.json", "{");
  EXPECT_THAT(std::string(Plan::Load("", folder_, kShape).status().message()),
              StartsWith((folder_ / "plan.json").string()));
}

TEST_F(PlanLoadTest, ADanglingPlanIsAnError) {
  std::filesystem::create_symlink(folder_ / "nowhere", folder_ / "plan.json");
  EXPECT_EQ(Plan::Load("", folder_, kShape).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(PlanLoadTest, APathIsRead) {
  Write("other.json", kExample);
  EXPECT_TRUE(Plan::Load(folder_ / "other.json", "/nowhere", kShape).ok());
  const auto missing = Plan::Load(folder_ / "missing.json", folder_, kShape);
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("missing.json"));
}

TEST(PlanTest, TheDefaultModelsPlanMeetsItsBudget) {
  const auto plan = Plan::Load("", SourceDir() / "models" / "needle-10m", {8, 4, ""});
  ASSERT_TRUE(plan.ok()) << plan.status();
  for (int element_bytes : {2, 4}) {
    const auto ratio = [&](int64_t tokens) {
      return static_cast<double>(plan->SequenceBytes(tokens, tokens, 64, element_bytes)) /
             static_cast<double>(plan->FullSequenceBytes(tokens, 64, element_bytes));
    };
    EXPECT_LT(ratio(8192), 0.12);
    EXPECT_LT(ratio(30'000), 0.09);
    EXPECT_GT(ratio(8192), 2.0 / 32) << "two heads are in full";
  }
  EXPECT_EQ(plan->FullSequenceBytes(8192, 64, 2), 32 * 8192 * 2 * 64 * 2);
  EXPECT_EQ(plan->SequenceBytes(8192, 8192, 64, 2),
            2 * 8192 * 2 * 64 * 2 + 30 * (17 * 16 * 2 * 64 * 2 + 2 * 64 * 4));
}

}  // namespace
}  // namespace headlong
