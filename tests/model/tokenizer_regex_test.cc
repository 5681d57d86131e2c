// Patterns written for Oniguruma give the same matches on PCRE2, or are refused.
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/pretokenizer.h"
#include "model/regex.h"

namespace headlong {
namespace {

using testing::ElementsAre;

std::vector<std::string> Matches(const std::string& pattern, const std::string& text) {
  const auto translated = PcreFromOniguruma(pattern);
  EXPECT_TRUE(translated.ok()) << translated.status();
  const auto regex = Regex::Compile(translated.ok() ? *translated : "");
  EXPECT_TRUE(regex.ok()) << regex.status();
  std::vector<std::string> matches;
  if (!regex.ok()) return matches;
  RegexMatcher matcher(*regex);
  for (size_t from = 0; from < text.size();) {
    const auto match = matcher.Find(text, from);
    EXPECT_TRUE(match.ok()) << match.status();
    if (!match.ok() || !match->has_value()) break;
    matches.push_back(text.substr((*match)->begin, (*match)->end - (*match)->begin));
    from = (*match)->end + ((*match)->begin == (*match)->end ? 1 : 0);
  }
  return matches;
}

TEST(RegexTest, WhiteSpaceIsUnicodeWhiteSpace) {
  EXPECT_THAT(Matches("\\s+", "a\u0085\u00a0\u2003b\u180ec\u200bd"),
              ElementsAre("\u0085\u00a0\u2003"));
  EXPECT_THAT(Matches("[^\\s]+", "a\u180eb c"), ElementsAre("a\u180eb", "c"));
  EXPECT_THAT(Matches("\\S", " \u180e\u2003"), ElementsAre("\u180e"));
}

TEST(RegexTest, WordCharactersAreOnigurumas) {
  EXPECT_THAT(Matches("\\w+", "ab\u0301_\u203f9\u00bd-\u2460"),
              ElementsAre("ab\u0301_\u203f9\u00bd"));
  EXPECT_THAT(Matches("\\W+", "ab- +c"), ElementsAre("- +"));
}

// A letter, a mark and a digit of Unicode 15 and a letter of 16.
TEST(RegexTest, CategoriesHaveTheCharactersOfLaterVersions) {
  const std::string letter = "\U00011F04", mark = "\U00011F34", digit = "\U00011F50";
  const std::string latest = "\U000105C0";
  const std::string text = "a" + letter + latest + mark + digit + "-";
  EXPECT_THAT(Matches("\\p{L}+", text), ElementsAre("a" + letter + latest));
  EXPECT_THAT(Matches("\\p{N}", text), ElementsAre(digit));
  EXPECT_THAT(Matches("[\\p{M}\\p{N}]+", text), ElementsAre(mark + digit));
  EXPECT_THAT(Matches("[^\\p{L}\\p{N}]+", text), ElementsAre(mark, "-"));
  EXPECT_THAT(Matches("\\P{L}+", text), ElementsAre(mark + digit + "-"));
  EXPECT_THAT(Matches("\\p{Lu}|\\p{Nd}", "aB1" + letter), ElementsAre("B", "1"));
}

TEST(RegexTest, LinesAndCase) {
  EXPECT_THAT(Matches("^a$", "a\nb\na"), ElementsAre("a", "a"));
  EXPECT_THAT(Matches("(?i:'s)", "'S'\u017f'x"), ElementsAre("'S", "'\u017f"));
  EXPECT_THAT(Matches("a\\u00e9|\\x41\\x{1F600}|\\v", "a\u00e9A\U0001F600\x0b\n"),
              ElementsAre("a\u00e9", "A\U0001F600", "\x0b"));
}

TEST(RegexTest, ConstructsReadDifferentlyAreRefused) {
  for (const std::string pattern :
       {"[a[b]]", "[a&&b]", "[]a]", "\\h", "\\b", "a\\R", "\\K", "(?m:.)", "(?<n>a)", "a(?i)b",
        "(*ACCEPT)", "a{1,2}+", "a{3}?", "a{,3}", "\\pL", "[\\W]", "\\1", "\\xE9", "\\G"}) {
    EXPECT_EQ(PcreFromOniguruma(pattern).status().code(), absl::StatusCode::kUnimplemented)
        << pattern;
  }
  EXPECT_FALSE(PcreFromOniguruma("[ab").ok());
  EXPECT_FALSE(PcreFromOniguruma("ab\\").ok());
}

TEST(RegexTest, LiteralsMatchThemselves) {
  const std::vector<std::string> literals = {"a.b",   "\\E(", "é[x]",
                                             "{1,2}", "^$|",  std::string("a\0b", 3)};
  for (const std::string& literal : literals) {
    const auto regex = Regex::Compile(PcreFromLiteral(literal));
    ASSERT_TRUE(regex.ok()) << regex.status();
    RegexMatcher matcher(*regex);
    const std::string text = "axb" + literal + "y";
    const auto match = matcher.Find(text, 0);
    ASSERT_TRUE(match.ok() && match->has_value()) << literal;
    EXPECT_EQ((*match)->begin, 3u);
    EXPECT_EQ((*match)->end, 3 + literal.size());
  }
}

// Nested repetition: the search ends with an error, not after the heat death.
TEST(RegexTest, CatastrophicPatternsGiveUp) {
  const auto regex = Regex::Compile("(?:a|aa)+$");
  ASSERT_TRUE(regex.ok()) << regex.status();
  RegexMatcher matcher(*regex);
  EXPECT_EQ(matcher.Find(std::string(200, 'a') + "c", 0).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(SplitBehaviorTest, DelimitersGoWhereTheBehaviorSays) {
  const std::string text = "the-final--countdown";
  const std::vector<SplitSegment> segments = {{0, 3, false}, {3, 4, true},   {4, 9, false},
                                              {9, 10, true}, {10, 11, true}, {11, 20, false}};
  EXPECT_THAT(ApplySplitBehavior(text, segments, SplitBehavior::kIsolated),
              ElementsAre("the", "-", "final", "-", "-", "countdown"));
  EXPECT_THAT(ApplySplitBehavior(text, segments, SplitBehavior::kRemoved),
              ElementsAre("the", "final", "countdown"));
  EXPECT_THAT(ApplySplitBehavior(text, segments, SplitBehavior::kMergedWithPrevious),
              ElementsAre("the-", "final-", "-", "countdown"));
  EXPECT_THAT(ApplySplitBehavior(text, segments, SplitBehavior::kMergedWithNext),
              ElementsAre("the", "-final", "-", "-countdown"));
  EXPECT_THAT(ApplySplitBehavior(text, segments, SplitBehavior::kContiguous),
              ElementsAre("the", "-", "final", "--", "countdown"));
}

}  // namespace
}  // namespace headlong
