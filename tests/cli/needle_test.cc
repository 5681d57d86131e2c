#include "cli/needle.h"

#include <fstream>
#include <iterator>
#include <optional>

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

NeedleCase Draw(int64_t length, int trial, std::optional<double> depth = {},
                NeedleTask task = NeedleTask::kPasskey) {
  return DrawCase(task, {1, length, trial, depth});
}

TEST(Needle, PromptHasExactlyTheLength) {
  const Hay hay = ByteHay();  // far shorter than any prompt: it wraps around
  for (const int64_t length : {768, 769, 1000, 4096, 30000}) {
    for (int trial = 0; trial < 20; ++trial) {
      const NeedleCase asked = Draw(length, trial);
      const NeedlePrompt prompt = BuildNeedlePrompt(hay, asked, length, EncodeBytes).value();
      ASSERT_EQ(static_cast<int64_t>(prompt.ids.size()), length);
      const std::string text = DecodeBytes(prompt.ids);
      EXPECT_EQ(text[0], '^');
      EXPECT_EQ(Count(text, asked.answers[0]), 1);
      ASSERT_EQ(prompt.positions.size(), 1u);
      EXPECT_EQ(text.substr(prompt.positions[0], asked.plants[0].text.size()),
                asked.plants[0].text);
      EXPECT_TRUE(text.ends_with(asked.question));
      EXPECT_LE(prompt.positions[0], length - kNeedleTailTokens);
      EXPECT_EQ(text.find_last_of("#"), std::string::npos);
    }
  }
}

TEST(Needle, StandsBehindASentence) {
  const Hay hay = ByteHay();
  for (int trial = 0; trial < 50; ++trial) {
    const NeedleCase asked = Draw(4096, trial, 0.25 + trial * 0.01);
    const NeedlePrompt prompt = BuildNeedlePrompt(hay, asked, 4096, EncodeBytes).value();
    const uint32_t before = prompt.ids[prompt.positions[0] - 1];
    EXPECT_TRUE(before == '.' || before == '?');
  }
}

TEST(Needle, DepthIsAFractionOfTheContextLessItsTail) {
  const Hay hay = ByteHay();
  const int64_t length = 4096;
  for (const double depth : {0.0, 0.5, 1.0}) {
    const NeedlePrompt prompt =
        BuildNeedlePrompt(hay, Draw(length, 0, depth), length, EncodeBytes).value();
    const double drawn = depth * static_cast<double>(length - kNeedleTailTokens);
    EXPECT_LE(static_cast<double>(prompt.positions[0]), drawn + 1);
    EXPECT_GE(static_cast<double>(prompt.positions[0]), drawn - 60);  // one sentence back
  }
}

TEST(Needle, PinnedForEveryMachine) {
  // Results of different builds are only comparable while this holds.
  const NeedleCase asked = Draw(8192, 0);
  EXPECT_EQ(asked.plants[0].text, " The pass key of Quentin is 3671238.");
  EXPECT_EQ(asked.question, "\nQuestion: What is the pass key of Quentin?\nAnswer: ");
  EXPECT_EQ(asked.hay_offset, 4802371098693927683u);
  EXPECT_NEAR(asked.depth, 0.2888426237576359, 1e-12);
  EXPECT_FALSE(asked.anywhere);
}

TEST(Needle, TooShortIsRefused) {
  const auto prompt = BuildNeedlePrompt(ByteHay(), Draw(767, 0), 767, EncodeBytes);
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
  for (const NeedleTaskName& entry : kNeedleTasks) {
    for (int trial = 0; trial < 8; ++trial) {
      const NeedleCase asked = Draw(8192, trial, {}, entry.task);
      const Hay own = asked.hay.empty() ? hay : ReadHay(asked.hay, encode).value();
      const NeedlePrompt prompt = BuildNeedlePrompt(own, asked, 8192, encode).value();
      ASSERT_EQ(prompt.ids.size(), 8192u);
      const std::string decoded = tokenizer->Decode(prompt.ids, false).value();
      for (const Plant& plant : asked.plants) {
        EXPECT_EQ(Count(decoded, plant.text), 1) << entry.name;
      }
      EXPECT_TRUE(decoded.ends_with(asked.question));
    }
  }
}

TEST(Needle, SeveralPlantsStandInOrderBeforeTheTail) {
  const Hay hay = ByteHay();
  for (int trial = 0; trial < 50; ++trial) {
    NeedleCase asked = Draw(2048, trial, 1.0, NeedleTask::kMultiQuery);
    const NeedlePrompt prompt = BuildNeedlePrompt(hay, asked, 2048, EncodeBytes).value();
    const std::string text = DecodeBytes(prompt.ids);
    ASSERT_EQ(prompt.positions.size(), 4u);
    for (size_t i = 0; i < prompt.positions.size(); ++i) {
      const std::string& plant = asked.plants[i].text;
      EXPECT_EQ(text.substr(prompt.positions[i], plant.size()), plant);
      EXPECT_GE(prompt.positions[i], i > 0 ? prompt.positions[i - 1] : 0);
    }
    EXPECT_LE(prompt.positions.back(), 2048 - kNeedleTailTokens);
  }
}

TEST(OwnPrompts, LinesBecomeCases) {
  const auto prompts = ParseOwnPrompts(
      "{\"prompt\":\"p\",\"answer\":\"a\"}\n\n{\"prompt\":\"q\",\"answer\":[\"b\",\"c\"],"
      "\"max_tokens\":5}\n",
      "own.jsonl");
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  ASSERT_EQ(prompts->size(), 2u);
  EXPECT_EQ((*prompts)[0].prompt, "p");
  EXPECT_EQ((*prompts)[1].asked.answer_tokens, 5);
  EXPECT_EQ(ScoreAnswer((*prompts)[0].asked, "it is a."), 1);
  EXPECT_EQ(ScoreAnswer((*prompts)[1].asked, "only b"), 0.5);
  const auto refusal = [](const char* text) {
    const auto refused = ParseOwnPrompts(text, "own.jsonl");
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument) << text;
    return std::string(refused.status().message());
  };
  EXPECT_THAT(refusal("\n{\"answer\":\"a\"}"), HasSubstr("own.jsonl: line 2: prompt"));
  EXPECT_THAT(refusal("{\"prompt\":\"p\"}"), HasSubstr("line 1: answer: must be a text"));
  EXPECT_THAT(refusal("{\"prompt\":\"p\",\"answer\":[]}"), HasSubstr("the list is empty"));
  EXPECT_THAT(refusal("{\"prompt\":\"p\",\"answer\":[1]}"), HasSubstr("answer"));
  EXPECT_THAT(refusal("{\"prompt\":\"p\",\"answer\":\"a\",\"x\":1}"), HasSubstr("\"x\""));
  EXPECT_THAT(refusal("{"), HasSubstr("line 1"));
  EXPECT_THAT(refusal("\n"), HasSubstr("has no prompts"));
  EXPECT_EQ(LengthBucket(10), 256);
  EXPECT_EQ(LengthBucket(4096), 4096);
  EXPECT_EQ(LengthBucket(4097), 8192);
}

TEST(Needle, JsonAsDocumented) {
  const std::vector<NeedleOutcome> outcomes{{4096, 0.1, 1, 100, 1000, 5},
                                            {4096, 0.1, 0.25, 104, 1000, 7},
                                            {4096, 0.9, 1, 100, 1000, 6},
                                            {8192, -1, 1, 120, 2000, 9}};
  EXPECT_EQ(NeedleJson(outcomes, "multi-query").dump(),
            R"({"task":"multi-query","rows":[{"length":4096,"depth":0.1,"trials":2,"correct":1},)"
            R"({"length":4096,"depth":0.9,"trials":1,"correct":1},)"
            R"({"length":8192,"depth":null,"trials":1,"correct":1}],)"
            R"("recall":{"4096":0.6666666666666666,"8192":1.0},"score":{"4096":0.75,"8192":1.0},)"
            R"("cache_bytes":{"4096":104,"8192":120},)"
            R"("full_cache_bytes":{"4096":1000,"8192":2000},)"
            R"("prefill_ms":{"4096":6.0,"8192":9.0}})");
}

}  // namespace
}  // namespace headlong
