#include "cli/needle.h"

#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/tokenizer.h"
#include "tests/support/paths.h"

namespace headlong {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kBos = 256;

absl::StatusOr<std::vector<uint32_t>> EncodeBytes(const std::string& text, bool special) {
  std::vector<uint32_t> ids;
  if (special) ids.push_back(kBos);
  for (const unsigned char byte : text) ids.push_back(byte);
  return ids;
}

std::string DecodeBytes(const std::vector<uint32_t>& ids) {
  std::string text;
  for (const uint32_t id : ids) text += id == kBos ? '^' : static_cast<char>(id);
  return text;
}

int Count(const std::string& text, const std::string& word) {
  int count = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++count;
  return count;
}

Hay ByteHay() {
  return ReadHay("It was night. Who came? Nobody came here again, said she. ", EncodeBytes).value();
}

TEST(Needle, PromptHasExactlyTheLength) {
  const Hay hay = ByteHay();  // far shorter than any prompt: it wraps around
  for (const int64_t length : {768, 769, 1000, 4096, 30000}) {
    for (int trial = 0; trial < 20; ++trial) {
      const Needle needle = DrawNeedle(1, length, trial, std::nullopt);
      const NeedlePrompt prompt = BuildNeedlePrompt(hay, needle, length, EncodeBytes).value();
      ASSERT_EQ(static_cast<int64_t>(prompt.ids.size()), length);
      const std::string text = DecodeBytes(prompt.ids);
      EXPECT_EQ(text[0], '^');
      EXPECT_EQ(Count(text, needle.value), 1);
      EXPECT_EQ(text.substr(prompt.position, NeedleSentence(needle).size()),
                NeedleSentence(needle));
      EXPECT_TRUE(text.ends_with(NeedleQuestion(needle)));
      EXPECT_LE(prompt.position, length - kNeedleTailTokens);
      EXPECT_EQ(text.find_last_of("#"), std::string::npos);
    }
  }
}

TEST(Needle, StandsBehindASentence) {
  const Hay hay = ByteHay();
  for (int trial = 0; trial < 50; ++trial) {
    const Needle needle = DrawNeedle(1, 4096, trial, 0.25 + trial * 0.01);
    const NeedlePrompt prompt = BuildNeedlePrompt(hay, needle, 4096, EncodeBytes).value();
    EXPECT_TRUE(prompt.ids[prompt.position - 1] == '.' || prompt.ids[prompt.position - 1] == '?');
  }
}

TEST(Needle, DepthIsAFractionOfTheContextLessItsTail) {
  const Hay hay = ByteHay();
  const int64_t length = 4096;
  for (const double depth : {0.0, 0.5, 1.0}) {
    const NeedlePrompt prompt =
        BuildNeedlePrompt(hay, DrawNeedle(1, length, 0, depth), length, EncodeBytes).value();
    const double drawn = depth * static_cast<double>(length - kNeedleTailTokens);
    EXPECT_LE(static_cast<double>(prompt.position), drawn + 1);
    EXPECT_GE(static_cast<double>(prompt.position), drawn - 60);  // one sentence back
  }
}

TEST(Needle, SameSeedSameNeedlesOtherSeedOthers) {
  std::set<std::string> values;
  std::map<std::string, int> names;
  for (int trial = 0; trial < 200; ++trial) {
    const Needle a = DrawNeedle(1, 8192, trial, std::nullopt);
    const Needle b = DrawNeedle(1, 8192, trial, std::nullopt);
    EXPECT_EQ(a.value, b.value);
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.depth, b.depth);
    EXPECT_EQ(a.hay_offset, b.hay_offset);
    EXPECT_EQ(a.value.size(), 7u);
    EXPECT_NE(a.value[0], '0');
    values.insert(a.value);
    ++names[a.name];
  }
  EXPECT_GE(values.size(), 199u);
  EXPECT_EQ(names.size(), 20u);
  EXPECT_NE(DrawNeedle(1, 8192, 0, std::nullopt).value, DrawNeedle(2, 8192, 0, std::nullopt).value);
  EXPECT_NE(DrawNeedle(1, 8192, 0, std::nullopt).value, DrawNeedle(1, 4096, 0, std::nullopt).value);
}

TEST(Needle, PinnedForEveryMachine) {
  // Results of different builds are only comparable while this holds.
  const Needle needle = DrawNeedle(1, 8192, 0, std::nullopt);
  EXPECT_EQ(NeedleSentence(needle),
            " The pass key of " + needle.name + " is " + needle.value + ".");
  EXPECT_EQ(NeedleQuestion({"Priya", "4817263", 0, 0}),
            "\nQuestion: What is the pass key of Priya?\nAnswer: ");
}

TEST(Needle, ADepthThatIsGivenChangesNothingElse) {
  const Needle drawn = DrawNeedle(5, 8192, 3, std::nullopt);
  const Needle given = DrawNeedle(5, 8192, 3, 0.5);
  EXPECT_EQ(drawn.value, given.value);
  EXPECT_EQ(drawn.hay_offset, given.hay_offset);
  EXPECT_EQ(given.depth, 0.5);
}

TEST(Needle, TooShortIsRefused) {
  const auto prompt = BuildNeedlePrompt(ByteHay(), DrawNeedle(1, 767, 0, {}), 767, EncodeBytes);
  EXPECT_EQ(prompt.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(prompt.status().message()), HasSubstr("768"));
}

TEST(Needle, WithTheModelsOwnTokenizer) {
  const auto folder = SourceDir() / "models" / "needle-10m";
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(folder).value();
  const EncodeText encode = [&](const std::string& text, bool special) {
    return tokenizer->Encode(text, special);
  };
  std::ifstream file(folder / "hay.txt");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const Hay hay = ReadHay(text, encode).value();
  EXPECT_EQ(hay.bos, std::vector<uint32_t>{0});
  for (int trial = 0; trial < 40; ++trial) {
    const Needle needle = DrawNeedle(1, 8192, trial, std::nullopt);
    const NeedlePrompt prompt = BuildNeedlePrompt(hay, needle, 8192, encode).value();
    ASSERT_EQ(prompt.ids.size(), 8192u);
    const std::string decoded = tokenizer->Decode(prompt.ids, false).value();
    EXPECT_EQ(Count(decoded, needle.value), 1);
    EXPECT_EQ(Count(decoded, NeedleSentence(needle)), 1);
    EXPECT_TRUE(decoded.ends_with(NeedleQuestion(needle)));
  }
}

TEST(Needle, AnswerStartsWithTheValue) {
  const Needle needle{"Priya", "4817263", 0, 0};
  EXPECT_TRUE(AnswersNeedle("4817263.\nQuestion", needle));
  EXPECT_FALSE(AnswersNeedle(" 4817263", needle));
  EXPECT_FALSE(AnswersNeedle("481726", needle));
}

TEST(Needle, JsonAsDocumented) {
  const std::vector<NeedleOutcome> outcomes{{4096, 0.1, true, 100, 1000, 5},
                                            {4096, 0.1, false, 104, 1000, 7},
                                            {4096, 0.9, true, 100, 1000, 6},
                                            {8192, 0.0, true, 120, 2000, 9}};
  EXPECT_EQ(NeedleJson(outcomes).dump(),
            R"({"rows":[{"length":4096,"depth":0.1,"trials":2,"correct":1},)"
            R"({"length":4096,"depth":0.9,"trials":1,"correct":1},)"
            R"({"length":8192,"depth":0.0,"trials":1,"correct":1}],)"
            R"("recall":{"4096":0.6666666666666666,"8192":1.0},)"
            R"("cache_bytes":{"4096":104,"8192":120},)"
            R"("full_cache_bytes":{"4096":1000,"8192":2000},)"
            R"("prefill_ms":{"4096":6.0,"8192":9.0}})");
}

}  // namespace
}  // namespace headlong
