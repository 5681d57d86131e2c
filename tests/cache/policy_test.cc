#include "cache/policy.h"

#include <algorithm>
#include <random>

#include "gtest/gtest.h"
#include "tests/support/local_head_reference.h"

namespace headlong {
namespace {

LaneRule Local(int64_t sinks, int64_t window, int64_t block_tokens) {
  return {.full = false, .sinks = sinks, .window = window, .block_tokens = block_tokens};
}

HeadPolicy LocalPolicy(int sinks, int64_t window) {
  HeadPolicy policy;
  policy.name = "local";
  policy.sinks = sinks;
  policy.window_tokens = window;
  return policy;
}

TEST(PolicyTest, WindowStartMovesInWholeBlocks) {
  EXPECT_EQ(WindowStart(Local(0, 8, 16), 0), 0);
  EXPECT_EQ(WindowStart(Local(4, 256, 16), 0), 4);
  EXPECT_EQ(WindowStart(Local(4, 256, 16), 270), 4);   // floor(15 / 16) = 0
  EXPECT_EQ(WindowStart(Local(4, 256, 16), 271), 16);  // the first block leaves
  EXPECT_EQ(WindowStart(Local(4, 256, 16), 286), 16);
  EXPECT_EQ(WindowStart(Local(4, 256, 16), 287), 32);
  EXPECT_EQ(WindowStart(Local(4, 256, 64), 318), 4);
  EXPECT_EQ(WindowStart(Local(4, 256, 64), 319), 64);
  EXPECT_EQ(WindowStart(Local(0, 1, 16), 15), 0);
  EXPECT_EQ(WindowStart(Local(0, 1, 16), 16), 16);
  EXPECT_EQ(WindowStart(LaneRule{}, 1'000'000), 0);
}

TEST(PolicyTest, DroppedTokensCountFromTheSinks) {
  EXPECT_EQ(DroppedTokens(Local(4, 256, 16), 270), 0);
  EXPECT_EQ(DroppedTokens(Local(4, 256, 16), 271), 12);
  EXPECT_EQ(DroppedTokens(Local(15, 1, 16), 16), 1);
  EXPECT_EQ(DroppedTokens(LaneRule{}, 1'000'000), 0);
}

TEST(PolicyTest, QueriesThatShareAWindowLieOneOffTheBlocks) {
  const LaneRule rule = Local(0, 64, 16);
  for (int64_t k = 8; k < 12; ++k) {
    EXPECT_EQ(WindowStart(rule, k * 16 - 1), WindowStart(rule, (k + 1) * 16 - 2));
    EXPECT_NE(WindowStart(rule, k * 16 - 1), WindowStart(rule, k * 16 - 2));
  }
}

TEST(PolicyTest, ArithmeticEqualsTheDefinitionByCounting) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 3000; ++trial) {
    const int64_t block = 16 << random() % 3;
    const LaneRule rule = Local(random() % 50, 1 + random() % 130, block);
    const reference::HeadRule definition{
        .sinks = rule.sinks, .window = rule.window, .block = block};
    const auto m = static_cast<int64_t>(random() % 400);
    int64_t dropped = 0;
    int64_t pages = 0;
    for (int64_t page = 0; page * 16 <= m; ++page) {
      bool kept = false;
      for (int64_t p = page * 16; p < (page + 1) * 16; ++p) {
        kept |= reference::Sees(definition, m, p);
        dropped += reference::StandsFor(definition, m, p) ? 1 : 0;
      }
      pages += kept ? 1 : 0;
    }
    ASSERT_EQ(DroppedTokens(rule, m), dropped) << rule.sinks << " " << rule.window << " " << m;
    ASSERT_EQ(PagesHeld(rule, m + 1), pages) << rule.sinks << " " << rule.window << " " << m;
  }
}

TEST(PolicyTest, PagesHeldStayUnderTheReservation) {
  std::mt19937 random(2);
  for (int trial = 0; trial < 2000; ++trial) {
    const LaneRule rule = Local(random() % 50, 1 + random() % 200, 16 << random() % 4);
    const auto max_context = static_cast<int64_t>(1 + random() % 900);
    const int64_t reserved = PagesReserved(rule, max_context);
    int64_t most = 0;
    for (int64_t length = 0; length <= max_context; ++length) {
      most = std::max(most, PagesHeld(rule, length));
    }
    ASSERT_LE(most + 1, reserved) << rule.sinks << " " << rule.window << " " << rule.block_tokens;
    ASSERT_LE(reserved, (max_context + 15) / 16 + 1);
    if (rule.block_tokens == 16 && rule.sinks == 0 && max_context > rule.window + 64) {
      ASSERT_EQ(most + 1, reserved) << "the bound is tight at W = " << rule.window;
    }
  }
  EXPECT_EQ(PagesReserved(Local(4, 256, 16), 32768), 1 + 16 + 1 + 1);
  EXPECT_EQ(PagesReserved(LaneRule{}, 32768), 512);
  EXPECT_EQ(PagesReserved(LaneRule{}, 32769), 513);
}

TEST(PolicyTest, ExactWindowGrowsWithThePrompt) {
  const HeadPolicy policy = LocalPolicy(4, 256);
  const auto window = [&](int64_t prompt_tokens) {
    return RuleFor(policy, PrefillMode::kExact, 16, prompt_tokens).window;
  };
  EXPECT_EQ(window(1), 4000);
  EXPECT_EQ(window(20004), 4000);
  EXPECT_EQ(window(20005), 4001);
  EXPECT_EQ(window(32768), 6553);
  EXPECT_EQ(RuleFor(policy, PrefillMode::kStreaming, 16, 32768).window, 256);
  EXPECT_TRUE(RuleFor(HeadPolicy{}, PrefillMode::kExact, 16, 32768).full);
}

TEST(PolicyTest, ExactReservationBoundsEveryShorterPrompt) {
  constexpr int64_t kMaxContext = 32768;
  const HeadPolicy policy = LocalPolicy(37, 256);
  const int64_t reserved =
      PagesReserved(RuleFor(policy, PrefillMode::kExact, 64, kMaxContext), kMaxContext);
  std::mt19937 random(3);
  for (int trial = 0; trial < 5000; ++trial) {
    const auto prompt = static_cast<int64_t>(random() % (kMaxContext + 1));
    const int64_t length = prompt + static_cast<int64_t>(random() % (kMaxContext - prompt + 1));
    const LaneRule rule = RuleFor(policy, PrefillMode::kExact, 64, prompt);
    ASSERT_LT(PagesHeld(rule, length), reserved) << prompt << " " << length;
  }
}

TEST(PolicyTest, LaneBytesCountPagesAndSums) {
  const LaneRule local = Local(4, 256, 16);
  EXPECT_EQ(LaneBytes(local, 0, 64, 2), 512);
  EXPECT_EQ(LaneBytes(local, 1, 64, 2), 16 * 2 * 64 * 2 + 512);
  // 8192 tokens: lo = 7936, 16 blocks of window and one with sinks.
  EXPECT_EQ(LaneBytes(local, 8192, 64, 2), 17 * 16 * 2 * 64 * 2 + 512);
  LaneRule mute = local;
  mute.compensation = Compensation::kNone;
  EXPECT_EQ(LaneBytes(mute, 8192, 64, 4), 17 * 16 * 2 * 64 * 4);
  EXPECT_EQ(LaneBytes(LaneRule{}, 8193, 64, 4), 129 * 64 * 2 * 64 * 4);
}

}  // namespace
}  // namespace headlong
