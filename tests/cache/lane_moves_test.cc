// Random placements, striped and whole: every page of every lane goes once, from a worker that
// holds it to each worker that shall hold it.
#include "cache/lane_moves.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <tuple>

namespace headlong {
namespace {

constexpr int kLayers = 3, kHeads = 4;

class RandomPlacements {
 public:
  explicit RandomPlacements(uint64_t seed) : random_(seed) {}

  int Below(int bound) { return static_cast<int>(random_() % static_cast<uint64_t>(bound)); }

  // Of each head either one worker holds it, or several hold stripes of it side by side.
  std::vector<std::vector<HeldLane>> Make(const Plan& plan, int workers) {
    std::vector<std::vector<HeldLane>> lanes(workers);
    for (int layer = 0; layer < kLayers; ++layer) {
      for (int head = 0; head < kHeads; ++head) {
        const LaneId id{layer, head};
        int worker = Below(workers);
        if (!plan.policy(layer, head).full() || Below(3) == 0) {
          lanes[worker].push_back({id, {}});
          continue;
        }
        const int of = 1 + Below(9);
        for (int begin = 0; begin < of;) {
          const bool last = worker + 1 == workers;
          const int count = last ? of - begin : 1 + Below(of - begin);
          lanes[worker++].push_back({id, {of, begin, count}});
          begin += count;
        }
      }
    }
    return lanes;
  }

 private:
  std::mt19937_64 random_;
};

Plan MixedPlan() {
  auto plan = Plan::FromJson(R"({"version":1,"layers":3,"kv_heads":4,"policies":{"retrieval":{},)"
                             R"("local":{"sinks":20,"window_tokens":100}},"default":"local",)"
                             R"("heads":[{"layer":0,"heads":[0,1,2],"policy":"retrieval"},)"
                             R"({"layer":2,"heads":[1,3],"policy":"retrieval"}]})",
                             PlanShape{kLayers, kHeads, ""}, "test");
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *plan;
}

using Page = std::tuple<LaneId, int, int64_t>;  // lane, worker, page of the lane

// Page by page, from what a lane keeps and who owns it.
std::set<Page> Owned(const Plan& plan, const std::vector<std::vector<HeldLane>>& workers,
                     int64_t committed) {
  std::set<Page> pages;
  for (int worker = 0; worker < static_cast<int>(workers.size()); ++worker) {
    for (const HeldLane& lane : workers[worker]) {
      const LaneRule rule = RuleOf(plan, lane.id, 0);
      for (int64_t position = 0; position < committed; ++position) {
        const bool kept =
            rule.full || position < rule.sinks || position >= WindowStart(rule, committed - 1);
        const int64_t page = position / rule.page_tokens();
        if (kept && lane.stripes.Owns(page)) pages.insert({lane.id, worker, page});
      }
    }
  }
  return pages;
}

TEST(LaneMovesTest, EveryPageGoesFromItsOwnerToItsOwner) {
  const Plan plan = MixedPlan();
  for (uint64_t seed = 0; seed < 300; ++seed) {
    RandomPlacements placements(seed);
    const int workers = 1 + placements.Below(4);
    const auto before = placements.Make(plan, workers);
    const auto after = placements.Make(plan, workers);
    const int64_t committed = 1 + placements.Below(1500);
    const std::set<Page> held = Owned(plan, before, committed);
    std::set<Page> arrived;
    for (const LaneMove& move : LaneMoves(before, after)) {
      for (const int64_t page : PagesMoved(move, RuleOf(plan, move.lane, 0), committed)) {
        ASSERT_TRUE(held.contains({move.lane, move.from, page})) << "seed " << seed;
        ASSERT_TRUE(arrived.insert({move.lane, move.to, page}).second) << "seed " << seed;
      }
    }
    ASSERT_EQ(arrived, Owned(plan, after, committed)) << "seed " << seed;
  }
}

TEST(LaneMovesTest, SumsGoOnceWithEachLocalLane) {
  const Plan plan = MixedPlan();
  RandomPlacements placements(5);
  const auto before = placements.Make(plan, 3);
  const auto after = placements.Make(plan, 3);
  std::map<LaneId, int64_t> sums;
  for (const LaneMove& move : LaneMoves(before, after)) {
    sums[move.lane] += SlotBytesOf(move, RuleOf(plan, move.lane, 0), {64, 2});
  }
  for (const auto& [lane, bytes] : sums) {
    EXPECT_EQ(bytes, plan.policy(lane.layer, lane.head).full() ? 0 : 2 * 64 * 4);
  }
  EXPECT_EQ(sums.size(), static_cast<size_t>(kLayers * kHeads));
}

TEST(LaneMovesTest, BytesAreThoseOfTheLanes) {
  const Plan plan = MixedPlan();
  RandomPlacements placements(9);
  const auto before = placements.Make(plan, 4);
  const auto after = placements.Make(plan, 4);
  int64_t bytes = 0;
  for (const LaneMove& move : LaneMoves(before, after)) {
    bytes += BytesMoved(move, RuleOf(plan, move.lane, 0), 1234, {64, 2});
  }
  EXPECT_EQ(bytes, plan.SequenceBytes(1234, 0, 64, 2)) << "as if one worker held all";
}

}  // namespace
}  // namespace headlong
