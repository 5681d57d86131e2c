// Plans whose heads store fewer numbers, in projections of their own, or numbers of other types.
#include <string>

#include "absl/strings/str_cat.h"
#include "cache/plan.h"
#include "common/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/orthonormal.h"

namespace headlong {
namespace {

using testing::StartsWith;

const PlanShape kShape{8, 4, "", {}, 64};

constexpr char kExample[] = R"({"version":1,"layers":8,"kv_heads":4,
  "policies":{"retrieval":{},"local":{"sinks":4,"window_tokens":256}},
  "default":"local","heads":[{"layer":6,"heads":[0,1],"policy":"retrieval"}]})";

// The example after an RFC 6902 patch.
std::string Patched(const std::string& patch) {
  return Json::parse(kExample).patch(Json::parse(patch)).dump();
}

TEST(PlanRanks, PoliciesMaySayHowManyNumbersAreStored) {
  const auto projections = Projections::Create(64, {{{6, 0}, {RandomOrthonormal(1, 48, 64), {}}},
                                                    {{6, 1}, {RandomOrthonormal(2, 48, 64), {}}}});
  ASSERT_TRUE(projections.ok()) << projections.status();
  const std::string patch = absl::StrCat(
      R"([{"op":"add","path":"/policies/retrieval/rank","value":{"k":48}},
          {"op":"add","path":"/projections","value":{"file":"x","sha256":")",
      (*projections)->digest(), R"("}},
          {"op":"add","path":"/policies/local/rotation","value":"hadamard"}])");
  auto plan = Plan::FromJson(Patched(patch), kShape, "plan.json");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->projections_file(), "x");
  EXPECT_TRUE(plan->UseProjections(*projections).ok());
  const LaneRule rule = plan->rule(plan->policy_index(6, 0), 100);
  EXPECT_EQ(rule.format(64, 2).keys, (RowFormat{Storage::kBfloat16, 48}));
  EXPECT_EQ(rule.format(64, 2).values, (RowFormat{Storage::kBfloat16, 64}));
  EXPECT_EQ(LaneBytes(rule, 64, 64, 2), 64 * (48 + 64) * 2);
  EXPECT_EQ(plan->policy(0, 0).rotation, Rotation::kHadamard);
  const auto again = Plan::FromJson(plan->ToJson(), kShape, "plan.json");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->policies(), plan->policies());
  EXPECT_EQ(again->ToJson(), plan->ToJson());
}

TEST(PlanStorage, PoliciesMayStorePlainNumbersOfAnotherType) {
  const auto plan = Plan::FromJson(Patched(
                                       R"([{"op":"add","path":"/policies/retrieval",
               "value":{"storage":{"k":"fp16","v":"fp16"}}},
              {"op":"add","path":"/policies/local/storage","value":{"k":"fp32","v":"int8"}}])"),
                                   kShape, "plan.json");
  ASSERT_TRUE(plan.ok()) << plan.status();
  const HeadPolicy& policy = plan->policy(6, 0);
  EXPECT_FALSE(policy.storage.coded());
  EXPECT_FALSE(policy.keeps_all()) << "not just as the cache has it";
  const LaneRule full = plan->rule(plan->policy_index(6, 0), 100);
  for (const Storage own : {Storage::kFloat32, Storage::kBfloat16, Storage::kFloat16}) {
    const LaneFormat format = full.format(64, own);
    EXPECT_EQ(format.keys, (RowFormat{Storage::kFloat16, 64}));
    EXPECT_EQ(format.values, (RowFormat{Storage::kFloat16, 64}));
    EXPECT_EQ(format.sinks, 0) << "all of them are plain";
  }
  EXPECT_EQ(LanePageBytes(full, 64, 4), 64 * 2 * 64 * 2);
  // The first tokens: keys as all keys, values in the cache's own type.
  const LaneFormat local = plan->rule(plan->policy_index(7, 3), 100).format(64, Storage::kFloat16);
  EXPECT_EQ(local.sink_keys(), (RowFormat{Storage::kFloat32, 64}));
  EXPECT_EQ(local.sink_values(), (RowFormat{Storage::kFloat16, 64}));
  EXPECT_EQ(local.sink_bytes(), 4 * (64 * 4 + 64 * 2));
  const auto again = Plan::FromJson(plan->ToJson(), kShape, "plan.json");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->policies(), plan->policies());
}

TEST(PlanRanks, ProjectionsMustBeThePlansOwn) {
  Projections::Heads heads{{{6, 0}, {RandomOrthonormal(1, 48, 64), {}}},
                           {{6, 1}, {RandomOrthonormal(2, 32, 64), {}}}};
  const auto short_one = Projections::Create(64, heads).value();
  heads.erase({6, 1});
  const auto one_missing = Projections::Create(64, heads).value();
  const auto message_of = [](const std::string& digest, const auto& projections) {
    const std::string patch = absl::StrCat(
        R"([{"op":"add","path":"/policies/retrieval/rank","value":{"k":48}},
            {"op":"add","path":"/projections","value":{"file":"x","sha256":")",
        digest, R"("}}])");
    auto plan = Plan::FromJson(Patched(patch), kShape, "plan.json");
    return std::string(plan->UseProjections(projections).message());
  };
  EXPECT_THAT(message_of(std::string(64, '1'), short_one),
              StartsWith("projections: the plan is for those with sha256 1111"));
  EXPECT_EQ(message_of(short_one->digest(), short_one),
            "projections: layer 6 head 1: the plan's rank is 48/all, the projection has 32/all");
  EXPECT_EQ(message_of(one_missing->digest(), one_missing),
            "projections: layer 6 head 1: the plan's rank is 48/all, there is no projection");
}

}  // namespace
}  // namespace headlong
