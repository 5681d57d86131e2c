#include "coordinator/stop_matcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace headlong {
namespace {

TEST(StopMatcher, HoldsBackOnlyWhatMayBecomeAStop) {
  StopMatcher matcher({"stop"});
  EXPECT_EQ(matcher.Push("a st"), "a ");
  EXPECT_EQ(matcher.Push("ar sto"), "star ");
  EXPECT_EQ(matcher.Push("p here"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopMatcher, OverlappingBeginnings) {
  StopMatcher matcher({"aab"});
  EXPECT_EQ(matcher.Push("aa"), "");
  EXPECT_EQ(matcher.Push("a"), "a");
  EXPECT_EQ(matcher.Push("b"), "");
  EXPECT_TRUE(matcher.stopped());
}

TEST(StopMatcher, TheOneThatBeginsFirstCounts) {
  StopMatcher matcher({"cd", "bc"});
  EXPECT_EQ(matcher.Push("abcd"), "a");
  EXPECT_TRUE(matcher.stopped());
}

TEST(StopMatcher, WithoutStopsNothingIsHeld) {
  StopMatcher matcher({});
  EXPECT_EQ(matcher.Push("anything"), "anything");
  EXPECT_FALSE(matcher.stopped());
}

TEST(StopMatcher, FlushGivesWhatIsHeldOnce) {
  StopMatcher matcher({"zz"});
  EXPECT_EQ(matcher.Push("az"), "a");
  EXPECT_EQ(matcher.Flush(), "z");
  EXPECT_EQ(matcher.Flush(), "");
}

// However a text is cut into pieces: what is sent is the text before the first stop string that is
// complete, and never a part of it.
TEST(StopMatcher, RandomPiecesAgainstAPlainSearch) {
  std::mt19937_64 random(9);
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (int i = 0; i < 20; ++i) text += static_cast<char>('a' + random() % 3);
    std::string stop;
    for (size_t i = 0, n = 1 + random() % 5; i < n; ++i)
      stop += static_cast<char>('a' + random() % 3);
    StopMatcher matcher({stop});
    std::string sent;
    for (size_t at = 0; at < text.size() && !matcher.stopped();) {
      const size_t length = std::min<size_t>(1 + random() % 4, text.size() - at);
      sent += matcher.Push(text.substr(at, length));
      at += length;
    }
    sent += matcher.Flush();
    const size_t cut = text.find(stop);
    ASSERT_EQ(matcher.stopped(), cut != std::string::npos) << text << " / " << stop;
    ASSERT_EQ(sent, text.substr(0, cut)) << text << " / " << stop;
  }
}

}  // namespace
}  // namespace headlong
