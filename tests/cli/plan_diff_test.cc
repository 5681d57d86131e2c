// Two plans side by side: what differs is what is kept, not how it is called.
#include "cli/plan_diff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace headlong {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const CacheMapParams kAt{64, 2, 4096, 4096};

Plan PlanOf(const std::string& policies, const std::string& heads,
            const std::string& prefill = "streaming") {
  const std::string json = R"({"version":1,"layers":2,"kv_heads":2,"prefill":")" + prefill +
                           R"(","policies":)" + policies + R"(,"default":"local","heads":)" +
                           heads + "}";
  return Plan::FromJson(json, {2, 2}, "test").value();
}

constexpr char kPolicies[] =
    R"({"full":{},"local":{"sinks":4,"window_tokens":256},"wide":{"sinks":4,"window_tokens":512}})";

TEST(PlanDiff, NamesDoNotMatter) {
  const Plan a = Plan::Local(2, 2);
  const Plan b = PlanOf(R"({"local":{"sinks":4,"window_tokens":256},"x":{}})", "[]");
  const PlanDiff diff = DiffPlans(a, b, kAt);
  EXPECT_TRUE(diff.same());
  EXPECT_THAT(PlanDiffText(diff, {}), HasSubstr("The plans keep the same.\n"));
  EXPECT_TRUE(PlanDiffJson(diff)["same"]);
}

TEST(PlanDiff, EveryHeadThatDiffersIsNamed) {
  const Plan a = PlanOf(kPolicies, R"([{"layer":0,"heads":[1],"policy":"full"}])");
  const Plan b = PlanOf(kPolicies, R"([{"layer":1,"heads":[0],"policy":"full"},)"
                                   R"({"layer":1,"heads":[1],"policy":"wide"}])");
  const PlanDiff diff = DiffPlans(a, b, kAt);
  EXPECT_FALSE(diff.same());
  const OutputJson json = PlanDiffJson(diff);
  EXPECT_EQ(json["heads"].dump(),
            R"([{"layer":0,"head":1,"a":"full","b":"local","a_bytes":1048576,"b_bytes":70144},)"
            R"({"layer":1,"head":0,"a":"local","b":"full","a_bytes":70144,"b_bytes":1048576},)"
            R"({"layer":1,"head":1,"a":"local","b":"wide","a_bytes":70144,"b_bytes":135680}])");
  EXPECT_EQ(json["length"], 4096);
  EXPECT_EQ(json["full_cache_bytes"], 4 << 20);
  EXPECT_EQ(json["a"]["cache_bytes"], 1048576 + 3 * 70144);
  EXPECT_EQ(json["b"]["cache_bytes"], 1048576 + 2 * 70144 + 135680);
  EXPECT_EQ(PlanDiffText(diff, {}),
            "layer    0 1\n"
            "head 0   . +\n"
            "head 1   - +\n"
            "\n"
            "+ keeps more in B, - less, ~ as much otherwise\n"
            "\n"
            "heads  in A                                   in B\n"
            "    1  first 4, last 256, a mean of the rest  first 4, last 512, a mean of the rest\n"
            "    1  first 4, last 256, a mean of the rest  keeps everything\n"
            "    1  keeps everything                       first 4, last 256, a mean of the rest\n"
            "\n"
            "   prefill    blocks     cache   share\n"
            "A  streaming      16  1.20 MiB  30.0 %\n"
            "B  streaming      16  1.26 MiB  31.6 %\n"
            "4,096 tokens, 4.00 MiB in full\n");
}

TEST(PlanDiff, PrefillIsPartOfAPlan) {
  const PlanDiff diff = DiffPlans(PlanOf(kPolicies, "[]"), PlanOf(kPolicies, "[]", "exact"), kAt);
  EXPECT_TRUE(diff.heads.empty());
  EXPECT_FALSE(diff.same());
  EXPECT_THAT(PlanDiffText(diff, {}), Not(HasSubstr("keep the same")));
  EXPECT_EQ(PlanDiffJson(diff)["b"]["prefill"], "exact");
}

}  // namespace
}  // namespace headlong
