#include "cache/lane_class.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace headlong {
namespace {

Plan ThreePolicies() {
  auto plan = Plan::FromJson(R"({"version":1,"layers":3,"kv_heads":2,"default":"b_local",
      "policies":{"a_full":{},"b_local":{"sinks":4,"window_tokens":256},
                  "c_mute":{"window_tokens":64,"compensation":"none"},"d_unused":{}},
      "heads":[{"layer":1,"heads":[1],"policy":"a_full"},
               {"layer":2,"heads":[0],"policy":"c_mute"}]})",
                             {3, 2, ""}, "plan");
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *plan;
}

TEST(LaneClassTest, GroupsByPolicyAndSortsLanes) {
  const std::vector<LaneId> heads = {{2, 1}, {2, 0}, {1, 1}, {0, 1}, {0, 0}};
  const auto classes = BuildLaneClasses(ThreePolicies(), heads);
  ASSERT_EQ(classes.size(), 3u) << "a policy without lanes has no class";
  EXPECT_EQ(classes[0].policy, 0);
  EXPECT_EQ(classes[0].lanes, (std::vector<LaneId>{{1, 1}}));
  EXPECT_EQ(classes[1].policy, 1);
  EXPECT_EQ(classes[1].lanes, (std::vector<LaneId>{{0, 0}, {0, 1}, {2, 1}}));
  EXPECT_EQ(classes[2].policy, 2);
  EXPECT_EQ(classes[2].lanes, (std::vector<LaneId>{{2, 0}}));
}

TEST(LaneClassTest, AShareMayHoldNothing) {
  EXPECT_TRUE(BuildLaneClasses(ThreePolicies(), std::vector<LaneId>()).empty());
}

TEST(LaneClassTest, BytesAddUpToTheSequence) {
  const Plan plan = ThreePolicies();
  std::vector<LaneId> heads;
  for (int layer = 0; layer < 3; ++layer) {
    for (int head = 0; head < 2; ++head) heads.push_back({layer, head});
  }
  const auto classes = BuildLaneClasses(plan, heads);
  EXPECT_EQ(PageBytes(plan, classes[0], 64, 2), 1 * 2 * 64 * 64 * 2);
  EXPECT_EQ(PageBytes(plan, classes[1], 64, 2), 4 * 2 * 16 * 64 * 2);
  EXPECT_EQ(SlotBytes(plan, classes[0], 64, 2), 0);
  EXPECT_EQ(SlotBytes(plan, classes[1], 64, 2), 4 * 2 * 64 * 4);
  EXPECT_EQ(SlotBytes(plan, classes[2], 64, 2), 0);
  for (int64_t length : {1, 16, 17, 300, 5000}) {
    int64_t bytes = 0;
    for (const LaneClass& entry : classes) {
      const LaneRule rule = plan.rule(entry.policy, length);
      bytes +=
          PagesHeld(rule, length) * PageBytes(plan, entry, 64, 2) + SlotBytes(plan, entry, 64, 2);
    }
    EXPECT_EQ(bytes, plan.SequenceBytes(length, length, 64, 2)) << length;
  }
}

TEST(LaneClassTest, LanesOfTheSameStripesShareAClass) {
  const StripeRange half{.of = 2, .begin = 1, .count = 1};
  const Plan plan = Plan::Full(2, 2);
  const std::vector<HeldLane> heads = {{{0, 0}, half}, {{1, 1}, {}}, {{1, 0}, half}};
  const auto classes = BuildLaneClasses(plan, heads);
  ASSERT_EQ(classes.size(), 2u);
  EXPECT_TRUE(classes[0].stripes.whole());
  EXPECT_EQ(classes[1].stripes, half);
  EXPECT_EQ(classes[1].lanes, (std::vector<LaneId>{{0, 0}, {1, 0}}));
  EXPECT_EQ(PagesHeld(classes[1].rule(plan, 0), 64 * 5), 2);
}

TEST(LaneClassTest, JoinsTheStripesOfAHead) {
  const auto held =
      JoinStripes({{{1, 0}, 2, 4}, {{0, 1}, 0, 1}, {{1, 0}, 1, 4}, {{0, 0}, 0, 2}, {{0, 0}, 1, 2}});
  ASSERT_TRUE(held.ok()) << held.status();
  EXPECT_EQ(*held, (std::vector<HeldLane>{
                       {{0, 0}, {}}, {{0, 1}, {}}, {{1, 0}, {.of = 4, .begin = 1, .count = 2}}}));
}

TEST(LaneClassTest, RefusesStripesThatDoNotStandTogether) {
  const auto message = [](std::vector<HeadStripe> stripes) {
    return std::string(JoinStripes(std::move(stripes)).status().message());
  };
  EXPECT_EQ(message({{{3, 1}, 2, 2}}), "placement: layer 3 head 1 stripe 2 of 2: no such stripe");
  EXPECT_EQ(message({{{3, 1}, 0, 0}}), "placement: layer 3 head 1 stripe 0 of 0: no such stripe");
  EXPECT_EQ(message({{{0, 0}, 0, 1}, {{0, 0}, 0, 1}}),
            "placement: layer 0 head 0 stripe 0 of 1: held twice");
  EXPECT_EQ(message({{{0, 0}, 0, 3}, {{0, 0}, 2, 3}}),
            "placement: layer 0 head 0 stripe 2 of 3: a worker's stripes stand side by side");
  EXPECT_EQ(message({{{0, 0}, 0, 3}, {{0, 0}, 1, 2}}),
            "placement: layer 0 head 0 stripe 1 of 2: another number of stripes than before");
}

TEST(LaneClassDeathTest, RefusesHeadsTwiceOrOutsideTheModel) {
  const Plan plan = ThreePolicies();
  const std::vector<LaneId> twice = {{0, 0}, {0, 1}, {0, 0}};
  EXPECT_DEATH(BuildLaneClasses(plan, twice), "holds a head once");
  const std::vector<LaneId> outside = {{3, 0}};
  EXPECT_DEATH(BuildLaneClasses(plan, outside), "heads of the plan");
}

}  // namespace
}  // namespace headlong
