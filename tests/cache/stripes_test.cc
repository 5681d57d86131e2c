#include "cache/stripes.h"

#include <algorithm>
#include <vector>

#include "cache/block_pool.h"
#include "cache/block_table.h"
#include "gtest/gtest.h"

namespace headlong {
namespace {

std::vector<StripeRange> Split(int of, const std::vector<int>& counts) {
  std::vector<StripeRange> ranges;
  int begin = 0;
  for (int count : counts) {
    ranges.push_back({of, begin, count});
    begin += count;
  }
  return ranges;
}

TEST(StripesTest, OwnersTogetherHoldEveryPageOnce) {
  for (const auto& ranges :
       {Split(1, {1}), Split(2, {1, 1}), Split(10, {7, 1, 2}), Split(5, {5})}) {
    std::vector<int64_t> owned(ranges.size(), 0);
    for (int64_t page = 0; page < 200; ++page) {
      int owners = 0;
      for (size_t i = 0; i < ranges.size(); ++i) {
        ASSERT_EQ(ranges[i].Owned(page), owned[i]);
        if (!ranges[i].Owns(page)) continue;
        ASSERT_EQ(ranges[i].PageAt(owned[i]), page);
        ++owned[i];
        ++owners;
      }
      ASSERT_EQ(owners, 1);
    }
  }
}

// Every position is in exactly one owner's table, at a page no other position block has.
TEST(StripesTest, TablesOfTheOwnersPartTheLane) {
  const auto ranges = Split(7, {2, 4, 1});
  std::vector<BlockPool> pools;
  std::vector<BlockTable> tables;
  for (const StripeRange& stripes : ranges) {
    LaneRule rule;
    rule.stripes = stripes;
    pools.emplace_back(static_cast<int32_t>(PagesReserved(rule, 3000)));
    tables.emplace_back(rule);
  }
  for (int64_t length = 0; length < 3000;) {
    const int64_t step = std::min<int64_t>(1 + length % 211, 3000 - length);
    length += step;
    int64_t pages = 0;
    for (size_t i = 0; i < tables.size(); ++i) {
      auto next = tables[i].Advance(step, pools[i]);
      ASSERT_TRUE(next.ok()) << next.status();
      tables[i] = *next;
      ASSERT_EQ(tables[i].pages_held(), PagesHeld(tables[i].rule(), length));
      ASSERT_EQ(pools[i].used(), tables[i].pages_held());
      pages += tables[i].pages_held();
    }
    ASSERT_EQ(pages, (length + kFullPageTokens - 1) / kFullPageTokens);
    for (int64_t position = 0; position < length; position += 13) {
      int holders = 0;
      for (const BlockTable& table : tables) {
        if (!table.Holds(position)) continue;
        ++holders;
        const int64_t page = table.rule().stripes.Owned(position / kFullPageTokens);
        ASSERT_EQ(table.PageOf(position), table.window_pages()[page]);
      }
      ASSERT_EQ(holders, 1) << position;
    }
  }
  for (size_t i = 0; i < tables.size(); ++i) {
    tables[i].Release(pools[i]);
    EXPECT_EQ(pools[i].free(), pools[i].total());
  }
}

}  // namespace
}  // namespace headlong
