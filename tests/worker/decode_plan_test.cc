#include "worker/kernels/decode_plan.h"

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "cache/block_pool.h"
#include "cache/block_table.h"
#include "gtest/gtest.h"

namespace headlong {
namespace {

std::vector<DecodeLane> Lanes(const std::vector<int>& slots) {
  std::vector<DecodeLane> lanes(slots.size());
  for (size_t i = 0; i < slots.size(); ++i) {
    lanes[i].slots = slots[i];
    lanes[i].query = static_cast<int32_t>(i);
  }
  return lanes;
}

// Every slot of every lane exactly once; parts numbered, merged, and within the bounds.
void Check(const std::vector<DecodeLane>& lanes, int ctas, const DecodePlan& plan) {
  ASSERT_EQ(plan.cta_items.size(), ctas + 1u);
  EXPECT_EQ(plan.cta_items.front(), 0);
  EXPECT_EQ(plan.cta_items.back(), std::ssize(plan.items));
  EXPECT_TRUE(std::is_sorted(plan.cta_items.begin(), plan.cta_items.end()));
  EXPECT_LE(std::ssize(plan.items), MaxDecodeItems(static_cast<int>(lanes.size()), ctas));
  std::vector<int32_t> covered(lanes.size(), 0), wholes(lanes.size(), 0);
  std::vector<std::set<int32_t>> parts(lanes.size());
  for (const DecodeItem& item : plan.items) {
    const int lane = item.lane.query;
    EXPECT_EQ(item.begin % kDecodeTile, 0);
    EXPECT_TRUE(item.end == item.lane.slots || item.end % kDecodeTile == 0);
    covered[lane] += item.end - item.begin;
    if (item.part < 0) {
      EXPECT_EQ(item.end - item.begin, item.lane.slots);
      ++wholes[lane];
    } else {
      EXPECT_LT(item.begin, item.end);
      EXPECT_TRUE(parts[lane].insert(item.part).second);
    }
  }
  for (const DecodeMerge& merge : plan.merges) {
    std::set<int32_t>& merged = parts[merge.query];
    EXPECT_EQ(static_cast<int32_t>(merged.size()), merge.count);
    EXPECT_EQ(*merged.begin(), merge.first);
    EXPECT_EQ(*merged.rbegin(), merge.first + merge.count - 1);
    EXPECT_LE(merge.first + merge.count, plan.parts);
    merged.clear();
    ++wholes[merge.query];
  }
  for (size_t i = 0; i < lanes.size(); ++i) {
    EXPECT_EQ(covered[i], lanes[i].slots);
    EXPECT_EQ(wholes[i], 1) << "lane " << i << " has one result";
    EXPECT_TRUE(parts[i].empty());
  }
}

int Tiles(const DecodeItem& item) {
  return (item.end - item.begin + kDecodeTile - 1) / kDecodeTile;
}

std::vector<int> TilesByCta(const DecodePlan& plan) {
  std::vector<int> tiles;
  for (size_t c = 0; c + 1 < plan.cta_items.size(); ++c) {
    tiles.push_back(0);
    for (int i = plan.cta_items[c]; i < plan.cta_items[c + 1]; ++i) {
      tiles.back() += Tiles(plan.items[i]);
    }
  }
  return tiles;
}

TEST(DecodePlan, CoversEveryLaneOnceForThousandsOfBatches) {
  std::mt19937 random(1);
  const auto draw = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  DecodePlan plan;
  for (int trial = 0; trial < 3000; ++trial) {
    std::vector<int> slots(draw(0, trial % 10 == 0 ? 300 : 20));
    for (int& n : slots) n = draw(0, 2) == 0 ? draw(0, 40000) : draw(0, 700);
    const std::vector<DecodeLane> lanes = Lanes(slots);
    const int ctas = draw(1, 300);
    PlanDecode(lanes, ctas, plan);
    Check(lanes, ctas, plan);
    if (HasFailure()) FAIL() << "trial " << trial;
  }
}

TEST(DecodePlan, ShortLanesStayWhole) {
  DecodePlan plan;
  PlanDecode(Lanes(std::vector<int>(64, kWholeLaneSlots)), 264, plan);
  EXPECT_EQ(plan.items.size(), 64u);
  EXPECT_TRUE(plan.merges.empty());
  EXPECT_EQ(plan.parts, 0);
}

TEST(DecodePlan, LongLanesGiveEveryCtaAsMuch) {
  DecodePlan plan;
  for (const int lanes : {1, 8, 64, 63}) {
    PlanDecode(Lanes(std::vector<int>(lanes, 32768)), 264, plan);
    const std::vector<int> tiles = TilesByCta(plan);
    const auto [least, most] = std::minmax_element(tiles.begin(), tiles.end());
    EXPECT_LE(*most - *least, 1) << lanes;
  }
}

TEST(DecodePlan, ShortAndLongLanesTogetherEndAlike) {
  std::vector<int> slots(192, 300);
  slots.insert(slots.end(), 64, 32768);
  DecodePlan plan;
  PlanDecode(Lanes(slots), 264, plan);
  const std::vector<int> tiles = TilesByCta(plan);  // a short lane is charged two tiles more
  const auto [least, most] = std::minmax_element(tiles.begin(), tiles.end());
  EXPECT_LE(*most - *least, 3);
}

// With little to do for each CTA a short lane in one piece would end last.
TEST(DecodePlan, ShortLanesAreCutWhereTheyWouldEndLast) {
  std::vector<int> slots(63, 512);
  slots.push_back(32768);
  DecodePlan plan;
  PlanDecode(Lanes(slots), 264, plan);
  const std::vector<int> tiles = TilesByCta(plan);
  EXPECT_EQ(*std::max_element(tiles.begin(), tiles.end()), 4);  // 1016 tiles
}

// Slots are the held positions in page order, the gap is what the pages hold and nobody sees.
TEST(SetKept, CountsWhatTheBlockTableHolds) {
  for (const int64_t sinks : {0, 1, 4, 15, 16, 17, 40}) {
    for (const int64_t window : {1, 5, 16, 17, 64, 100}) {
      LaneRule rule;
      rule.full = false;
      rule.sinks = sinks;
      rule.window = window;
      BlockPool pool(40);
      BlockTable table(rule);
      for (int64_t length = 1; length < 300; ++length) {
        auto next = table.Advance(1, pool);
        ASSERT_TRUE(next.ok());
        table = *std::move(next);
        DecodeLane lane;
        SetKept(rule, length, lane);
        int64_t held = 0;
        for (int64_t p = 0; p < length; ++p) held += table.Holds(p) ? 1 : 0;
        ASSERT_EQ(lane.slots - (lane.gap_end - lane.gap_begin), held) << length;
        ASSERT_EQ(lane.dropped, length - held);
        ASSERT_EQ(1 << lane.page_shift, kLocalPageTokens);
        ASSERT_LE(lane.slots, table.pages_held() * kLocalPageTokens);
        ASSERT_GT(lane.slots, (table.pages_held() - 1) * kLocalPageTokens);
        if (lane.gap_begin < lane.gap_end) {
          ASSERT_EQ(lane.gap_begin, sinks);
          ASSERT_EQ(lane.gap_end % kLocalPageTokens, 0);
        }
      }
      table.Release(pool);
    }
  }
}

TEST(SetKept, AFullLaneKeepsEverything) {
  DecodeLane lane;
  SetKept(LaneRule{}, 1000, lane);
  EXPECT_EQ(lane.slots, 1000);
  EXPECT_EQ(lane.dropped, 0);
  EXPECT_EQ(lane.gap_begin, lane.gap_end);
  EXPECT_EQ(1 << lane.page_shift, kFullPageTokens);
}

TEST(SetKept, CountsOwnedPositionsOfASplitLane) {
  for (const StripeRange stripes : {StripeRange{3, 0, 1}, {3, 1, 2}, {10, 7, 2}, {2, 1, 1}}) {
    LaneRule rule;
    rule.stripes = stripes;
    for (int64_t length = 1; length < 1500; length += 13) {
      DecodeLane lane;
      SetKept(rule, length, lane);
      int64_t owned = 0;
      for (int64_t p = 0; p < length; ++p) owned += stripes.Owns(p / kFullPageTokens) ? 1 : 0;
      ASSERT_EQ(lane.slots, owned) << length;
      ASSERT_EQ(lane.gap_begin, lane.gap_end);
      for (const int64_t window : {1, 64, 130, 700, 5000}) {
        DecodeLane bounded = lane;
        const int32_t ids[32] = {};
        bounded.page_ids = ids;
        BoundByWindow(length, window, bounded, stripes);
        int64_t seen = 0;
        for (int64_t p = std::max<int64_t>(length - window, 0); p < length; ++p) {
          seen += stripes.Owns(p / kFullPageTokens) ? 1 : 0;
        }
        ASSERT_EQ(bounded.slots - (bounded.gap_end - bounded.gap_begin), seen) << length;
      }
    }
  }
}

TEST(SetSinks, WhatIsReadFromPlainRowsIsInNoSlot) {
  for (const StripeRange stripes : {StripeRange{}, StripeRange{3, 0, 1}, StripeRange{3, 1, 2}}) {
    for (const bool full : {true, false}) {
      if (!full && !stripes.whole()) continue;
      LaneRule rule;
      rule.full = full;
      rule.sinks = full ? 0 : 20;
      rule.window = 64;
      rule.stripes = stripes;
      for (int64_t length = 1; length < 600; ++length) {
        DecodeLane lane;
        SetKept(rule, length, lane);
        const int64_t live = lane.slots - (lane.gap_end - lane.gap_begin);
        SetSinks(rule, length, 20, lane);
        EXPECT_EQ(lane.sink_rows, 20);
        EXPECT_EQ(lane.sink_end, stripes.Owns(0) ? std::min<int64_t>(length, 20) : 0);
        EXPECT_EQ(lane.slots - (lane.gap_end - lane.gap_begin) + lane.sink_end, live) << length;
        EXPECT_EQ(lane.gap_begin, 0);
        if (!full || !stripes.whole()) continue;
        for (const int64_t window : {1, 15, 100, 580}) {
          DecodeLane bounded = lane;
          const int32_t ids[16] = {};
          bounded.page_ids = ids;
          BoundByWindow(length, window, bounded);
          EXPECT_EQ(bounded.slots - (bounded.gap_end - bounded.gap_begin) + bounded.sink_end -
                        bounded.sink_begin,
                    std::min(length, window));
        }
      }
    }
  }
}

// Slots that stay live are the last `window` positions, whatever whole pages are passed over.
TEST(BoundByWindow, LeavesTheLastPositions) {
  const int32_t ids[1] = {};
  for (const bool full : {true, false}) {
    LaneRule rule;
    rule.full = full;
    rule.window = 200;
    rule.compensation = Compensation::kNone;
    for (int64_t length = 1; length < 900; length += 7) {
      for (const int64_t window : {1, 15, 16, 17, 64, 130, 200, 5000}) {
        DecodeLane lane;
        lane.page_ids = ids;
        SetKept(rule, length, lane);
        const int64_t kept = lane.slots;
        BoundByWindow(length, window, lane);
        const int64_t pages = lane.page_ids - ids;
        EXPECT_EQ(lane.slots + (pages << lane.page_shift), kept);
        EXPECT_EQ(lane.slots - (lane.gap_end - lane.gap_begin), std::min(kept, window));
        EXPECT_EQ(lane.gap_begin, 0);
        EXPECT_LT(lane.gap_end, 1 << lane.page_shift);
      }
    }
  }
}

}  // namespace
}  // namespace headlong
