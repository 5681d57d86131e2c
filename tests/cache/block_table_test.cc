#include "cache/block_table.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/local_head_reference.h"

namespace headlong {
namespace {

LaneRule Local(int64_t sinks, int64_t window, int64_t block_tokens) {
  return {.full = false, .sinks = sinks, .window = window, .block_tokens = block_tokens};
}

LaneRule RandomRule(std::mt19937& random) {
  if (random() % 8 == 0) return LaneRule{};
  return Local(random() % 50, 1 + random() % 130, 16 << random() % 3);
}

reference::HeadRule Definition(const LaneRule& rule) {
  return {.retrieval = rule.full,
          .sinks = rule.sinks,
          .window = rule.window,
          .block = rule.block_tokens};
}

int64_t RandomChunk(std::mt19937& random) {
  constexpr int64_t kMost[] = {1, 1, 7, 16, 17, 64, 300};
  return 1 + static_cast<int64_t>(random() % kMost[random() % 7]);
}

// Page of every kept position; fails where the table disagrees with the definition.
std::map<int64_t, int32_t> KeptPages(const BlockTable& table) {
  const reference::HeadRule definition = Definition(table.rule());
  std::map<int64_t, int32_t> pages;
  for (int64_t p = -1; p <= table.committed() + 16; ++p) {
    const bool kept =
        p < table.committed() && reference::Sees(definition, table.committed() - 1, p);
    EXPECT_EQ(table.Holds(p), kept) << "position " << p << " of " << table.committed();
    if (kept && table.Holds(p)) pages[p] = table.PageOf(p);
  }
  return pages;
}

void ExpectOnePagePerBlock(const BlockTable& table, const std::map<int64_t, int32_t>& pages) {
  std::map<int32_t, int64_t> block_of;
  for (const auto& [position, page] : pages) {
    const int64_t block = position / table.rule().page_tokens();
    ASSERT_EQ(block_of.emplace(page, block).first->second, block) << "page " << page;
  }
  ASSERT_EQ(static_cast<int64_t>(block_of.size()), table.pages_held());
}

TEST(BlockTableTest, HoldsWhatTheDefinitionKeepsForAnyChunking) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 1500; ++trial) {
    const LaneRule rule = RandomRule(random);
    const int64_t end = 1 + static_cast<int64_t>(random() % 500);
    BlockPool pool(static_cast<int32_t>(PagesReserved(rule, end)));
    BlockTable table(rule);
    std::map<int64_t, int32_t> before;
    while (table.committed() < end) {
      const int64_t chunk = std::min(RandomChunk(random), end - table.committed());
      auto next = table.Advance(chunk, pool);
      ASSERT_TRUE(next.ok()) << next.status();
      table = *next;
      const std::map<int64_t, int32_t> after = KeptPages(table);
      ExpectOnePagePerBlock(table, after);
      for (const auto& [position, page] : after) {
        const auto old = before.find(position);
        ASSERT_TRUE(old == before.end() || old->second == page) << "a kept key moved";
      }
      ASSERT_EQ(table.pages_held(), PagesHeld(rule, table.committed()));
      ASSERT_EQ(pool.used(), table.pages_held());
      ASSERT_EQ(pool.free() + pool.used(), pool.total());
      before = after;
    }
    table.Release(pool);
    ASSERT_EQ(pool.used(), 0);
    ASSERT_EQ(table.committed(), 0);
  }
}

TEST(BlockTableTest, AStepNeedsNoMoreThanItHoldsBeforeOrAfter) {
  std::mt19937 random(2);
  for (int trial = 0; trial < 3000; ++trial) {
    const LaneRule rule = RandomRule(random);
    const auto begin = static_cast<int64_t>(random() % 400);
    const int64_t chunk = RandomChunk(random);
    const int64_t most = std::max(PagesHeld(rule, begin), PagesHeld(rule, begin + chunk));
    BlockPool pool(static_cast<int32_t>(most));
    auto table = BlockTable(rule).Advance(begin, pool);
    ASSERT_TRUE(table.ok()) << table.status();
    auto next = table->Advance(chunk, pool);
    ASSERT_TRUE(next.ok()) << rule.sinks << " " << rule.window << ": " << next.status();
    ASSERT_EQ(pool.used(), next->pages_held());
  }
}

TEST(BlockTableTest, AChunkBeyondTheWindowSkipsWhatItWouldDrop) {
  const LaneRule rule = Local(4, 32, 16);
  BlockPool pool(static_cast<int32_t>(PagesReserved(rule, 100'000)));
  auto table = BlockTable(rule).Advance(100'000, pool);
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->pages_held(), 3);  // sinks, and 99968..99999
  EXPECT_EQ(table->window_begin(), 99'968);
}

TEST(BlockTableTest, SinksAcrossSeveralBlocks) {
  const LaneRule rule = Local(40, 16, 16);
  BlockPool pool(10);
  auto table = BlockTable(rule).Advance(20, pool);  // still inside the sinks
  ASSERT_TRUE(table.ok());
  EXPECT_EQ(table->pages_held(), 2);
  table = table->Advance(70, pool);  // 90: lo = floor(74 / 16) * 16 = 64
  ASSERT_TRUE(table.ok());
  EXPECT_EQ(table->pages_held(), 3 + 2);
  EXPECT_TRUE(table->Holds(39));
  EXPECT_FALSE(table->Holds(40));  // in a sink block, and dropped
  EXPECT_FALSE(table->Holds(63));
  EXPECT_TRUE(table->Holds(64));
}

TEST(BlockTableTest, ExhaustionLeavesPoolAndTableAsTheyWere) {
  BlockPool pool(2);
  auto table = BlockTable(LaneRule{}).Advance(100, pool);
  ASSERT_TRUE(table.ok());
  const auto refused = table->Advance(29, pool);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.status().message(), "cache pages: 1 more needed, 0 of 2 free");
  EXPECT_EQ(pool.used(), 2);
  EXPECT_TRUE(table->Advance(28, pool).ok());
}

// Forks, steps and ends at random over pages with contents: a key is the number of its write.
TEST(BlockTableTest, ForksReadTheirOwnKeys) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 60; ++trial) {
    const LaneRule rule = RandomRule(random);
    constexpr int64_t kMaxContext = 700;
    constexpr size_t kSequences = 4;
    BlockPool pool(static_cast<int32_t>(kSequences * PagesReserved(rule, kMaxContext)));
    std::map<std::pair<int32_t, int>, int> memory;
    int writes = 0;
    struct Sequence {
      BlockTable table;
      std::vector<int> keys;
    };
    std::vector<Sequence> sequences(1, {BlockTable(rule), {}});
    for (int step = 0; step < 300; ++step) {
      const size_t chosen = random() % sequences.size();
      Sequence& sequence = sequences[chosen];
      const int64_t length = sequence.table.committed();
      const int page_tokens = rule.page_tokens();
      if (length % page_tokens == 0 && sequences.size() < kSequences && random() % 2 == 0) {
        Sequence fork{sequence.table.Fork(pool), sequence.keys};
        sequences.push_back(std::move(fork));
      } else if (length > 600) {
        sequence.table.Release(pool);
        sequence.keys.clear();
      } else {
        const int64_t chunk =
            random() % 2 == 0 ? page_tokens - length % page_tokens : RandomChunk(random);
        auto next = sequence.table.Advance(std::min(chunk, kMaxContext - length), pool);
        ASSERT_TRUE(next.ok()) << next.status();
        sequence.table = *next;
        for (int64_t p = length; p < sequence.table.committed(); ++p) {
          sequence.keys.push_back(++writes);
          if (!sequence.table.Holds(p)) continue;
          memory[{sequence.table.PageOf(p), sequence.table.SlotOf(p)}] = writes;
        }
      }
      std::set<int32_t> pages;
      for (const Sequence& one : sequences) {
        for (const auto& [position, page] : KeptPages(one.table)) {
          pages.insert(page);
          const int key = memory[{page, one.table.SlotOf(position)}];
          ASSERT_EQ(key, one.keys[position]) << "position " << position;
        }
      }
      ASSERT_EQ(pool.used(), static_cast<int32_t>(pages.size()));
    }
    for (Sequence& sequence : sequences) sequence.table.Release(pool);
    ASSERT_EQ(pool.used(), 0);
  }
}

TEST(BlockTableDeathTest, RefusesWhatWouldCorruptIt) {
  BlockPool pool(20);
  auto table = BlockTable(Local(4, 16, 16)).Advance(70, pool);
  ASSERT_TRUE(table.ok());
  EXPECT_DEATH(table->PageOf(20), "only kept positions are looked up");
  EXPECT_DEATH(table->PageOf(70), "only kept positions are looked up");
  EXPECT_DEATH(table->Fork(pool), "at a page border");
}

}  // namespace
}  // namespace headlong
