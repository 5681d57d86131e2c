#include "cache/lane_cpu.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/cache/lane_driver.h"
#include "tests/support/local_head_reference.h"

namespace headlong {
namespace {

constexpr int64_t kChunks[] = {1, 7, 16, 64, 1 << 20};

LaneRule Local(int64_t sinks, int64_t window, int64_t block_tokens,
               Compensation compensation = Compensation::kMean) {
  return {.full = false,
          .sinks = sinks,
          .window = window,
          .block_tokens = block_tokens,
          .compensation = compensation};
}

reference::HeadRule Definition(const LaneRule& rule) {
  return {.retrieval = rule.full,
          .sinks = rule.sinks,
          .window = rule.window,
          .block = rule.block_tokens,
          .compensation = rule.compensation == Compensation::kMean};
}

std::string Words(const LaneRule& rule) {
  return absl::StrCat("S ", rule.sinks, " W ", rule.window, " B ", rule.block_tokens);
}

void RunInChunks(LaneDriver& driver, const HeadRows& rows, int64_t end, int64_t chunk) {
  while (driver.table().committed() < end) {
    driver.Step(rows, std::min(chunk, end - driver.table().committed()));
  }
}

// S, W, B and lengths on both sides of every border.
std::vector<LaneRule> BorderRules() {
  std::vector<LaneRule> rules = {LaneRule{}};
  for (int64_t block : {16, 32, 64}) {
    for (int64_t sinks : {0, 1, 4, 15, 16, 17, 40}) {
      for (int64_t window : {1, 2, 15, 16, 17, 31, 32, 33, 64, 100}) {
        const bool none = (sinks + window) % 5 == 0;
        rules.push_back(
            Local(sinks, window, block, none ? Compensation::kNone : Compensation::kMean));
      }
    }
  }
  return rules;
}

class LaneChunkTest : public testing::TestWithParam<Storage> {};

TEST_P(LaneChunkTest, EqualsTheDefinitionForAnyChunking) {
  std::mt19937 random(1);
  for (const LaneRule& rule : BorderRules()) {
    // Into the third block after the first drop, ending before, on or after a border.
    const int64_t end =
        rule.sinks + rule.window + 2 * rule.block_tokens + static_cast<int64_t>(random() % 3) - 1;
    const HeadRows rows = HeadRows::Random(random, end);
    const HeadRows rounded = rows.Rounded(GetParam());
    DriverClass lanes(rule, GetParam(), /*sequences=*/1, end);
    std::vector<float> sums;
    for (int64_t chunk : kChunks) {
      LaneDriver driver(&lanes, 0);
      RunInChunks(driver, rows, end, chunk);
      ASSERT_EQ(DifferenceFromDefinition(driver, Definition(rule), rounded), "")
          << Words(rule) << " chunks of " << chunk;
      if (chunk == 1) sums = driver.sums();
      ASSERT_EQ(driver.sums(), sums) << "not the same bits, chunks of " << chunk;
      driver.Release();
    }
    ASSERT_EQ(lanes.pool.used(), 0);
  }
}

TEST_P(LaneChunkTest, RandomChunksOverLongerSequences) {
  std::mt19937 random(2);
  for (int trial = 0; trial < 40; ++trial) {
    const LaneRule rule = Local(random() % 40, 1 + random() % 80, 16 << random() % 3);
    const int64_t end = 300 + static_cast<int64_t>(random() % 100);
    const HeadRows rows = HeadRows::Random(random, end);
    DriverClass lanes(rule, GetParam(), /*sequences=*/1, end);
    LaneDriver driver(&lanes, 0);
    while (driver.table().committed() < end) {
      const int64_t chunk = 1 + static_cast<int64_t>(random() % (random() % 2 == 0 ? 4 : 150));
      driver.Step(rows, std::min(chunk, end - driver.table().committed()));
    }
    ASSERT_EQ(DifferenceFromDefinition(driver, Definition(rule), rows.Rounded(GetParam())), "")
        << Words(rule);
  }
}

TEST_P(LaneChunkTest, ReplayRestoresTheSameBits) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 60; ++trial) {
    const LaneRule rule = Local(random() % 40, 1 + random() % 80, 16 << random() % 3);
    const int64_t end = 40 + static_cast<int64_t>(random() % 300);
    const HeadRows rows = HeadRows::Random(random, end);
    DriverClass lanes(rule, GetParam(), /*sequences=*/2, end);
    LaneDriver lived(&lanes, 0);
    RunInChunks(lived, rows, end / 2, 30);
    RunInChunks(lived, rows, end, 1);
    LaneDriver replayed(&lanes, 1);
    RunInChunks(replayed, rows, end, 64);
    ASSERT_EQ(replayed.sums(), lived.sums()) << Words(rule);
    ASSERT_EQ(replayed.Contents(), lived.Contents()) << Words(rule);
  }
}

TEST_P(LaneChunkTest, ForksGoOnApart) {
  std::mt19937 random(4);
  for (int trial = 0; trial < 60; ++trial) {
    const LaneRule rule =
        trial % 6 == 0 ? LaneRule{} : Local(random() % 40, 1 + random() % 80, 16 << random() % 3);
    const int64_t border = rule.page_tokens() * static_cast<int64_t>(1 + random() % 8);
    const int64_t end = border + 150;
    const HeadRows rows = HeadRows::Random(random, end);
    HeadRows other = HeadRows::Random(random, end);
    for (auto matrix : {&HeadRows::queries, &HeadRows::keys, &HeadRows::values}) {
      std::copy_n((rows.*matrix).begin(), border * kDriverHeadDim, (other.*matrix).begin());
    }
    DriverClass lanes(rule, GetParam(), /*sequences=*/2, end);
    LaneDriver trunk(&lanes, 0);
    RunInChunks(trunk, rows, border, 50);
    LaneDriver fork = trunk.Fork(1);
    while (trunk.table().committed() < end || fork.table().committed() < end) {
      LaneDriver& next = random() % 2 == 0 ? trunk : fork;
      const int64_t left = end - next.table().committed();
      next.Step(&next == &trunk ? rows : other,
                std::min<int64_t>(left, 1 + static_cast<int64_t>(random() % 20)));
    }
    ASSERT_EQ(DifferenceFromDefinition(trunk, Definition(rule), rows.Rounded(GetParam())), "")
        << Words(rule);
    ASSERT_EQ(DifferenceFromDefinition(fork, Definition(rule), other.Rounded(GetParam())), "")
        << Words(rule);
    trunk.Release();
    fork.Release();
    ASSERT_EQ(lanes.pool.used(), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Storages, LaneChunkTest,
                         testing::Values(Storage::kFloat32, Storage::kBfloat16, Storage::kFloat16),
                         [](const auto& storage) {
                           return std::string(StorageName(storage.param));
                         });

TEST(LaneCpuTest, ExactPrefillThenTheRule) {
  std::mt19937 random(5);
  HeadPolicy policy;
  policy.sinks = 4;
  policy.window_tokens = 16;
  for (int64_t prompt : {3990, 4000, 4019, 4020, 4021, 4100}) {
    const LaneRule rule = RuleFor(policy, PrefillMode::kExact, 16, prompt);
    const int64_t end = prompt + 40;
    const HeadRows rows = HeadRows::Random(random, end);
    DriverClass lanes(rule, Storage::kFloat32, /*sequences=*/1, end);
    LaneDriver driver(&lanes, 0);
    driver.PrefillExact(rows, prompt);
    RunInChunks(driver, rows, end, 1);
    const reference::HeadRule definition{.sinks = 4, .exact = true, .prompt_tokens = prompt};
    const int64_t first = prompt - 3;
    const auto expected = reference::Attend(definition, rows.View(), first);
    for (int64_t m = first; m < end; ++m) {
      ASSERT_NEAR(driver.output().lse[m], expected.lse[m - first], 1e-5) << prompt << " " << m;
      for (int i = 0; i < kDriverHeadDim; ++i) {
        ASSERT_NEAR(driver.output().out[m * kDriverHeadDim + i],
                    expected.out[(m - first) * kDriverHeadDim + i], 1e-5)
            << prompt << " " << m;
      }
    }
  }
}

TEST(LaneCpuTest, ExactWindowOfALongPromptIsAFifth) {
  HeadPolicy policy;
  policy.window_tokens = 16;
  constexpr int64_t kPrompt = 20'500;  // W = 4100
  const LaneRule rule = RuleFor(policy, PrefillMode::kExact, 16, kPrompt);
  const reference::HeadRule definition{.exact = true, .prompt_tokens = kPrompt};
  for (int64_t m = kPrompt; m < kPrompt + 40; ++m) {
    const int64_t lo = WindowStart(rule, m);
    EXPECT_TRUE(reference::Sees(definition, m, lo));
    EXPECT_FALSE(reference::Sees(definition, m, lo - 1));
  }
  EXPECT_TRUE(reference::Sees(definition, kPrompt - 1, 0));
}

// The checks that catch a wrong logarithm, a wrong mean or a token that is not there.
TEST(LaneCpuTest, EqualDroppedKeysGiveFullAttention) {
  std::mt19937 random(6);
  const LaneRule rule = Local(4, 32, 16);
  constexpr int64_t kEnd = 150;
  HeadRows rows = HeadRows::Random(random, kEnd);
  for (int64_t p = 5; p < kEnd - 1; ++p) {  // values differ
    std::copy_n(&rows.keys[4 * kDriverHeadDim], kDriverHeadDim, &rows.keys[p * kDriverHeadDim]);
  }
  DriverClass lanes(rule, Storage::kFloat32, /*sequences=*/1, kEnd);
  LaneDriver driver(&lanes, 0);
  RunInChunks(driver, rows, kEnd, 7);
  EXPECT_EQ(DroppedTokens(rule, kEnd - 1), 108);
  EXPECT_EQ(DifferenceFromDefinition(driver, {.retrieval = true}, rows), "");
}

TEST(LaneCpuTest, OneDroppedKeyGivesFullAttention) {
  std::mt19937 random(7);
  const LaneRule rule = Local(15, 20, 16);
  const HeadRows rows = HeadRows::Random(random, 51);  // N_d = 1 for m in [35, 50]
  DriverClass lanes(rule, Storage::kFloat32, /*sequences=*/1, 51);
  LaneDriver driver(&lanes, 0);
  RunInChunks(driver, rows, 51, 7);
  EXPECT_EQ(DroppedTokens(rule, 34), 0);
  EXPECT_EQ(DroppedTokens(rule, 35), 1);
  EXPECT_EQ(DroppedTokens(rule, 50), 1);
  EXPECT_EQ(DifferenceFromDefinition(driver, {.retrieval = true}, rows), "");
}

TEST(LaneCpuTest, IncrementalSumsEqualBatchSums) {
  std::mt19937 random(8);
  const LaneRule rule = Local(4, 64, 16);
  constexpr int64_t kEnd = 20'000;
  const HeadRows rows = HeadRows::Random(random, kEnd);
  DriverClass lanes(rule, Storage::kFloat32, /*sequences=*/1, kEnd);
  LaneDriver driver(&lanes, 0);
  RunInChunks(driver, rows, kEnd, 1);
  std::vector<double> batch(2 * kDriverHeadDim);
  for (int64_t p = 4; p < WindowStart(rule, kEnd - 1); ++p) {
    for (int i = 0; i < kDriverHeadDim; ++i) {
      batch[i] += rows.keys[p * kDriverHeadDim + i];
      batch[kDriverHeadDim + i] += rows.values[p * kDriverHeadDim + i];
    }
  }
  const auto dropped = static_cast<double>(DroppedTokens(rule, kEnd - 1));
  const std::vector<float> sums = driver.sums();
  for (size_t i = 0; i < batch.size(); ++i) {
    EXPECT_NEAR(sums[i] / dropped, batch[i] / dropped, 1e-5);
  }
}

TEST(LaneCpuTest, RunsAreWholePages) {
  DriverClass lanes(Local(4, 32, 16), Storage::kFloat32, /*sequences=*/1, 100);
  auto table = BlockTable(lanes.rule).Advance(90, lanes.pool);
  ASSERT_TRUE(table.ok());
  const SlabLane lane{&lanes.slab, 0, 0};
  std::vector<KeyRun> runs;
  KeptRuns(*table, lane, {0, 4}, runs);
  KeptRuns(*table, lane, {50, 90}, runs);
  ASSERT_EQ(runs.size(), 4u);
  EXPECT_EQ(runs[0].count, 4);
  EXPECT_EQ(runs[1].position, 50);
  EXPECT_EQ(runs[1].count, 14);
  EXPECT_EQ(runs[2].count, 16);
  EXPECT_EQ(runs[3].count, 10);
  EXPECT_EQ(runs[3].keys, lanes.slab.keys(table->PageOf(80), 0).codes);
}

TEST(LaneCpuDeathTest, RefusesWhatWouldCorruptAStep) {
  DriverClass lanes(Local(4, 32, 16), Storage::kFloat32, /*sequences=*/1, 100);
  auto table = BlockTable(lanes.rule).Advance(90, lanes.pool);
  ASSERT_TRUE(table.ok());
  const SlabLane lane{&lanes.slab, 0, 0};
  std::vector<KeyRun> runs;
  EXPECT_DEATH(KeptRuns(*table, lane, {0, 5}, runs), "only kept positions are read");
  float* sums = lanes.slab.sums(0, 0);
  const NewRows none{.begin = 90, .end = 90};
  EXPECT_DEATH(FoldDropped(*table, lane, none, {0, 16}, sums), "sinks are never dropped");
  EXPECT_DEATH(FoldDropped(*table, lane, none, {20, 32}, sums), "goes on at a border");
  EXPECT_DEATH(FoldDropped(*table, lane, none, {48, 60}, sums), "whole blocks leave");
  EXPECT_DEATH(FoldDropped(*table, lane, none, {16, 32}, sums), "only kept positions");
}

}  // namespace
}  // namespace headlong
