// Plans of models with sliding windows: Plan::BoundedBy and Plan::CheckWindows.
#include <algorithm>
#include <string>
#include <vector>

#include "cache/plan.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headlong {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int kLayers = 4;
constexpr int kHeads = 2;
const PlanShape kShape{kLayers, kHeads};

// Heads 0 are retrieval heads but in layer 3, where a wide policy holds; heads 1 are local.
Plan Example(const std::string& prefill = "streaming") {
  return Plan::FromJson(R"({"version": 1, "layers": 4, "kv_heads": 2, "prefill": ")" + prefill +
                            R"(", "policies": {"retrieval": {},
                "local": {"sinks": 4, "window_tokens": 256, "compensation": "mean"},
                "wide": {"sinks": 0, "window_tokens": 4000, "compensation": "none"}},
              "default": "local",
              "heads": [{"layer": 0, "heads": [0], "policy": "retrieval"},
                        {"layer": 1, "heads": [0], "policy": "retrieval"},
                        {"layer": 2, "heads": [0], "policy": "retrieval"},
                        {"layer": 3, "heads": [0], "policy": "wide"}]})",
                        kShape, "example")
      .value();
}

std::vector<std::string> Names(const Plan& plan, int head) {
  std::vector<std::string> names;
  for (int layer = 0; layer < kLayers; ++layer) names.push_back(plan.policy(layer, head).name);
  return names;
}

TEST(BoundedByTest, ModelsWithoutWindowsKeepTheirPlan) {
  EXPECT_EQ(Example().BoundedBy({}).ToJson(), Example().ToJson());
  EXPECT_EQ(Example().BoundedBy({0, 0, 0, 0}).ToJson(), Example().ToJson());
  EXPECT_TRUE(Example().CheckWindows({}).ok());
  EXPECT_TRUE(Example().CheckWindows({0, 0, 0, 0}).ok());
}

TEST(BoundedByTest, AWindowBoundsEveryHeadOfItsLayers) {
  const Plan bounded = Example().BoundedBy({0, 100, 1000, 5000});
  EXPECT_THAT(Names(bounded, 0),
              ElementsAre("retrieval", "retrieval@100", "retrieval@1000", "wide"));
  EXPECT_THAT(Names(bounded, 1), ElementsAre("local", "local@100", "local@1000", "local@5000"));
  EXPECT_TRUE(bounded.policy(0, 0).full());
  EXPECT_EQ(bounded.policy(1, 0).window_tokens, 100);  // a full head keeps what the model sees
  EXPECT_EQ(bounded.policy(2, 0).window_tokens, 1000);
  EXPECT_EQ(bounded.policy(3, 0).window_tokens, 4000);  // the plan's own window is shorter
  EXPECT_EQ(bounded.policy(1, 1).window_tokens, 100);
  EXPECT_EQ(bounded.policy(2, 1).window_tokens, 256);
  EXPECT_EQ(bounded.policy(0, 1).sinks, 4);  // a layer without a window is untouched
  EXPECT_EQ(bounded.policy(0, 1).compensation, Compensation::kMean);
  for (int layer = 1; layer < kLayers; ++layer) {
    for (int head = 0; head < kHeads; ++head) {
      EXPECT_EQ(bounded.policy(layer, head).sinks, 0) << layer << " " << head;
      EXPECT_EQ(bounded.policy(layer, head).compensation, Compensation::kNone);
    }
  }
}

// The longest of any lane's kept positions is what attention in that layer can reach.
TEST(BoundedByTest, LanesHoldNoMoreThanTheWindowAndABlock) {
  const Plan bounded = Plan::Full(kLayers, kHeads).BoundedBy({64, 64, 64, 64});
  constexpr int64_t kLength = 100'000;
  for (size_t policy = 0; policy < bounded.policies().size(); ++policy) {
    const LaneRule rule = bounded.rule(static_cast<int>(policy), kLength);
    EXPECT_LE(PagesHeld(rule, kLength) * rule.page_tokens(), 64 + 2 * rule.block_tokens);
  }
  EXPECT_LT(bounded.SequenceBytes(kLength, kLength, 64, 4) * 500,
            Plan::Full(kLayers, kHeads).SequenceBytes(kLength, kLength, 64, 4));
}

TEST(BoundedByTest, BoundedPlansStayAsTheyAre) {
  for (const char* prefill : {"streaming", "exact"}) {
    for (const std::vector<int64_t>& windows :
         {std::vector<int64_t>{0, 100, 1000, 5000}, {1, 1, 1, 1}, {0, 0, 0, 7}}) {
      const Plan once = Example(prefill).BoundedBy(windows);
      EXPECT_EQ(once.BoundedBy(windows).ToJson(), once.ToJson());
      EXPECT_TRUE(once.CheckWindows(windows).ok());
      const auto read = Plan::FromJson(once.ToJson(), kShape, "bounded");
      ASSERT_TRUE(read.ok()) << read.status();
      EXPECT_EQ(read->ToJson(), once.ToJson());
    }
  }
}

// Where a prompt is prefilled exactly its length says how long windows are, so only what the model
// does not see goes; a full head stays one.
TEST(BoundedByTest, ExactPrefillKeepsItsWindows) {
  const Plan bounded = Example("exact").BoundedBy({0, 100, 1000, 5000});
  EXPECT_EQ(bounded.prefill(), PrefillMode::kExact);
  EXPECT_THAT(Names(bounded, 0), ElementsAre("retrieval", "retrieval", "retrieval", "wide"));
  EXPECT_THAT(Names(bounded, 1), ElementsAre("local", "local@100", "local@1000", "local@5000"));
  EXPECT_EQ(bounded.policy(1, 1).window_tokens, 256);
  EXPECT_EQ(bounded.policy(1, 1).sinks, 0);
  EXPECT_EQ(bounded.policy(1, 1).compensation, Compensation::kNone);
}

TEST(BoundedByTest, NewNamesAvoidThoseOfThePlan) {
  const Plan plan =
      Plan::FromJson(R"({"version": 1, "layers": 4, "kv_heads": 2, "policies": {"a": {},
                         "a@8": {"window_tokens": 3}}, "default": "a",
                         "heads": [{"layer": 1, "heads": [1], "policy": "a@8"}]})",
                     kShape, "plan")
          .value();
  const Plan bounded = plan.BoundedBy({8, 8, 0, 8});
  EXPECT_EQ(bounded.policy(0, 0).name, "a@8@");
  EXPECT_EQ(bounded.policy(0, 0).window_tokens, 8);
  EXPECT_EQ(bounded.policy(1, 1).name, "a@8@8");  // it had a compensation token
  EXPECT_EQ(bounded.policy(1, 1).window_tokens, 3);
  EXPECT_EQ(bounded.policy(2, 0).name, "a");
}

// The default may be a policy that no head has any more.
TEST(BoundedByTest, TheDefaultIsAPolicyOfThePlan) {
  const Plan bounded = Plan::Local(kLayers, kHeads).BoundedBy({16, 16, 16, 16});
  ASSERT_EQ(bounded.policies().size(), 1u);
  EXPECT_EQ(bounded.policies()[0].name, "local@16");
  EXPECT_THAT(bounded.ToJson(), HasSubstr(R"("default":"local@16")"));
}

TEST(CheckWindowsTest, NamesTheHeadThatTheWindowContradicts) {
  const absl::Status status = Example().CheckWindows({0, 0, 64, 0});
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("layer 2 head 1: the model's sliding "
                                                       "window of 64 tokens"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"local\""));
  EXPECT_TRUE(Plan::Full(kLayers, kHeads).CheckWindows({1, 1, 1, 1}).ok());
}

}  // namespace
}  // namespace headlong
