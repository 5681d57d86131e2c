#include "cli/calibration_text.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headlong {
namespace {

constexpr uint32_t kBos = 256;
constexpr ProbeDensity kDensity{32, 512};
constexpr int kFacts = 3;

absl::StatusOr<std::vector<uint32_t>> EncodeBytes(const std::string& text, bool special) {
  std::vector<uint32_t> ids;
  if (special) ids.push_back(kBos);
  for (const unsigned char byte : text) ids.push_back(byte);
  return ids;
}

std::string Decode(const std::vector<uint32_t>& ids, size_t begin, size_t end) {
  std::string text;
  for (size_t i = begin; i < end; ++i) text += ids[i] == kBos ? '^' : static_cast<char>(ids[i]);
  return text;
}

Hay LongHay() {
  std::string text;
  for (int i = 0; i < 200; ++i) text += "Day " + std::to_string(i) + " came. Nobody saw it. ";
  return ReadHay(text, EncodeBytes).value();
}

std::vector<MeasuredSequence> Make(int64_t length, uint64_t seed = 1) {
  return MakeMeasuredText(LongHay(), {seed, length, kFacts}, kDensity, EncodeBytes).value();
}

TEST(CalibrationText, PositionsAreOfNextTokensAndNoStepHasTooMany) {
  for (const int64_t length : {1024, 1500, 4096}) {
    for (const MeasuredSequence& sequence : Make(length)) {
      const auto& positions = sequence.positions;
      ASSERT_FALSE(positions.empty());
      EXPECT_LT(positions.back() + 1, sequence.ids.size());
      EXPECT_TRUE(std::is_sorted(positions.begin(), positions.end(), std::less_equal<>()));
      for (size_t i = kDensity.rows; i < positions.size(); ++i) {
        EXPECT_GE(positions[i] - positions[i - kDensity.rows], uint32_t{512});
      }
    }
  }
}

TEST(CalibrationText, TheSecondHalfIsTheFirstAndOnlyItCounts) {
  const MeasuredSequence repeated = Make(1025)[0];
  ASSERT_EQ(repeated.ids.size(), 1025u);
  for (size_t i = 1; i <= 512; ++i) ASSERT_EQ(repeated.ids[i], repeated.ids[i + 512]);
  EXPECT_GT(repeated.positions.front(), 512u);
}

// Every answer stands behind its question, in its fact far before, and nowhere else.
TEST(CalibrationText, EveryFactIsAskedForAndItsAnswerCounts) {
  const int64_t length = 1400;
  const MeasuredSequence asked = Make(length)[1];
  ASSERT_EQ(asked.positions.size(), size_t{7} * kFacts);
  std::vector<std::string> names;
  const std::string text = Decode(asked.ids, 0, asked.ids.size());
  for (int fact = 0; fact < kFacts; ++fact) {
    const size_t begin = asked.positions[fact * 7] + 1;
    ASSERT_EQ(asked.positions[fact * 7 + 6], begin + 5) << "an answer's tokens follow each other";
    const std::string answer = text.substr(begin, 7);
    const std::string before = text.substr(0, begin);
    ASSERT_TRUE(before.ends_with("?\nAnswer: "));
    const size_t of = before.rfind(" of ") + 4;
    names.push_back(before.substr(of, before.rfind('?') - of));
    const size_t planted = text.find(" The pass key of " + names.back() + " is " + answer + ".");
    ASSERT_NE(planted, std::string::npos);
    EXPECT_LE(planted + kNeedleTailTokens, static_cast<size_t>(length));
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::unique(names.begin(), names.end()), names.end());
}

TEST(CalibrationText, ASeedSaysEverything) {
  EXPECT_EQ(Make(1024, 7)[0].ids, Make(1024, 7)[0].ids);
  EXPECT_EQ(Make(1024, 7)[1].ids, Make(1024, 7)[1].ids);
  EXPECT_NE(Make(1024, 7)[0].ids, Make(1024, 8)[0].ids);
  EXPECT_NE(Make(1024, 7)[1].ids, Make(1024, 8)[1].ids);
}

TEST(CalibrationText, HalvesShareNothing) {
  Hay hay;
  hay.bos = {kBos};
  hay.tokens = {1, 2, 3, 4, 5};
  const auto [first, second] = Halves(hay);
  EXPECT_EQ(first.tokens, (std::vector<uint32_t>{1, 2}));
  EXPECT_EQ(second.tokens, (std::vector<uint32_t>{3, 4, 5}));
  EXPECT_EQ(second.bos, hay.bos);
}

TEST(CalibrationText, ATextThatIsTooShortIsRefused) {
  Hay hay = LongHay();
  hay.tokens.resize(100);
  const auto made = MakeMeasuredText(hay, {1, 1024, kFacts}, kDensity, EncodeBytes);
  EXPECT_THAT(std::string(made.status().message()), testing::HasSubstr("100 tokens are too few"));
}

TEST(CalibrationText, IdsAreOfTheMiddleOfTheVocabulary) {
  const std::vector<uint32_t> ids = DrawIds(1, 1000, 400);
  EXPECT_GE(*std::min_element(ids.begin(), ids.end()), 100u);
  EXPECT_LT(*std::max_element(ids.begin(), ids.end()), 300u);
  EXPECT_EQ(RepeatedIds({9}, {1, 2}, 3), (std::vector<uint32_t>{9, 1, 2, 1, 2, 1, 2}));
}

// A row's next token stands at each of its positions, within the fact, and at no other place of it.
TEST(CalibrationText, AnswersAreCopiedFromTheirFacts) {
  const std::vector<double> depths = {0.9, 0.1, 0.5};
  const auto prompts = MakeCopyingPrompts(LongHay(), 3, {1400, 2500}, depths, EncodeBytes);
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  ASSERT_EQ(prompts->size(), 2u);
  for (const CopyingPrompt& prompt : *prompts) {
    EXPECT_EQ(prompt.rows, 7 * 3);
    const std::string text = Decode(prompt.ids, 0, prompt.ids.size());
    std::map<int64_t, std::vector<int64_t>> positions;
    int64_t last = 0;
    for (const CopiedToken& copy : prompt.copies) {
      EXPECT_GE(copy.row, last) << "rows rise";
      last = copy.row;
      positions[copy.row].push_back(copy.position);
    }
    ASSERT_EQ(positions.size(), 21u);
    for (auto row = positions.begin(); row != positions.end();) {
      const int64_t answer = row->first + 1;  // seven digits
      const std::string digits = text.substr(answer, 7);
      const size_t end = text.find(" is " + digits + ".") + 5 + 7;
      const size_t begin = text.rfind(" The pass key", end);
      ASSERT_LT(end, static_cast<size_t>(answer));
      for (int i = 0; i < 7; ++i, ++row) {
        std::vector<int64_t> same;
        for (size_t at = begin; at < end; ++at) {
          if (text[at] == digits[i]) same.push_back(static_cast<int64_t>(at));
        }
        EXPECT_EQ(row->first, answer + i - 1);
        EXPECT_EQ(row->second, same);
      }
    }
    // Depths in the order of the questions.
    const int64_t first = prompt.copies.front().position, later = prompt.copies.back().position;
    EXPECT_GT(first, later) << "the first fact is planted at 0.9, the last at 0.5";
  }
}

}  // namespace
}  // namespace headlong
