// Encoding and decoding on tokenizers that the project carries, against Hugging Face's outputs.
#include "model/tokenizer.h"

#include <chrono>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/tokenizer_documents.h"
#include "tests/support/paths.h"

namespace headlong {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

std::unique_ptr<Tokenizer> Load(const Json& document) {
  auto tokenizer = LoadFromText(document.dump());
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

std::unique_ptr<Tokenizer> LoadNeedle() {
  auto tokenizer = LoadTokenizer(SourceDir() / "models/needle-10m");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

// What a stream of these tokens shows, in all.
std::string Streamed(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  StreamDecoder decoder(&tokenizer);
  std::string text;
  for (const TokenId id : ids) text += decoder.Push(id);
  return text + decoder.Flush();
}

TEST(TokenizerTest, NeedlePromptsEqualTransformers) {
  const auto tokenizer = LoadNeedle();
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->vocab_size(), 8192);
  const auto cases = ReadJsonFile(GoldenPath("needle-10m.transformers.json"));
  ASSERT_TRUE(cases.ok()) << cases.status();
  ASSERT_FALSE(cases->empty());
  for (const Json& example : *cases) {
    const std::string text = example["text"];
    const auto ids = tokenizer->Encode(text, /*add_special_tokens=*/true);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, example["prompt_ids"].get<std::vector<TokenId>>()) << text.substr(0, 80);
    const auto decoded = tokenizer->Decode(*ids, /*keep_special_tokens=*/false);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(*decoded, text);
    EXPECT_EQ(Streamed(*tokenizer, *ids), text);
  }
}

void ExpectEqualsHuggingFace(const std::string& name) {
  const auto golden = ReadJsonFile(GoldenPath(name));
  ASSERT_TRUE(golden.ok()) << golden.status();
  for (const Json& example : (*golden)["cases"]) {
    SCOPED_TRACE(example["name"].get<std::string>());
    Json document = example["document"];
    document["model"] = (*golden)["model"];
    document["model"]["ignore_merges"] = example.value("ignore_merges", false);
    const auto tokenizer = Load(document);
    ASSERT_NE(tokenizer, nullptr);
    for (const Json& row : example["texts"]) {
      const std::string text = row["text"];
      const auto ids = tokenizer->Encode(text, false);
      const auto special_ids = tokenizer->Encode(text, true);
      ASSERT_TRUE(ids.ok() && special_ids.ok()) << ids.status() << special_ids.status();
      EXPECT_EQ(*ids, row["ids"].get<std::vector<TokenId>>()) << text;
      EXPECT_EQ(*special_ids, row["special_ids"].get<std::vector<TokenId>>()) << text;
      EXPECT_EQ(tokenizer->Decode(*special_ids, false).value(), row["decoded"]) << text;
      EXPECT_EQ(tokenizer->Decode(*special_ids, true).value(), row["decoded_special"]) << text;
      EXPECT_EQ(Streamed(*tokenizer, *special_ids), row["decoded"]) << text;
    }
  }
}

// Every option of the document on small vocabularies.
TEST(TokenizerTest, OptionsEqualHuggingFace) { ExpectEqualsHuggingFace("tokenizer_options.json"); }

TEST(TokenizerTest, FallbackToBytesEqualsHuggingFace) {
  ExpectEqualsHuggingFace("tokenizer_fallback.json");
}

TEST(TokenizerTest, NeedleOddTextsEqualHuggingFace) {
  const auto golden = ReadJsonFile(GoldenPath("tokenizer_texts.json"));
  ASSERT_TRUE(golden.ok()) << golden.status();
  const auto tokenizer = LoadNeedle();
  ASSERT_NE(tokenizer, nullptr);
  int checked = 0;
  for (const Json& row : (*golden)["cases"]) {
    if (row["tokenizer"] != "needle-10m") continue;
    const auto ids = tokenizer->Encode(row["text"].get<std::string>(), true);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, row["ids"].get<std::vector<TokenId>>()) << row["text"];
    EXPECT_EQ(tokenizer->Decode(*ids, false).value(), row["decoded"]);
    ++checked;
  }
  EXPECT_GT(checked, 0);
}

TEST(TokenizerTest, PrefersTheLowestRankNotTheLongestMatch) {
  Json document = SmallDocument();
  document["model"]["vocab"]["hel"] = 259;
  document["model"]["vocab"]["he"] = 260;
  document["model"]["vocab"]["el"] = 261;
  document["model"]["merges"] = Json::array({Json::array({"e", "l"}), "h e", "he l"});
  const auto tokenizer = Load(document);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_THAT(tokenizer->Encode("hel", false).value(), ElementsAre('h', 261));
  document["model"]["ignore_merges"] = true;
  const auto whole = Load(document);
  ASSERT_NE(whole, nullptr);
  EXPECT_THAT(whole->Encode("hel", false).value(), ElementsAre(259));
}

// Words on both sides of the border between the scan and the heap merge alike.
TEST(TokenizerTest, LongWordsMergeLikeShortOnes) {
  const auto tokenizer = Load(SmallDocument());
  ASSERT_NE(tokenizer, nullptr);
  for (int repeats = 1; repeats < 60; ++repeats) {
    std::string word;
    std::vector<TokenId> expected;
    for (int i = 0; i < repeats; ++i) {
      word += "thet";
      expected.insert(expected.end(), {257, 't'});
    }
    EXPECT_EQ(tokenizer->Encode(word, false).value(), expected) << repeats;
  }
}

TEST(TokenizerTest, EmptyTextHasOnlyTheTemplate) {
  const auto tokenizer = Load(SmallDocument());
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_THAT(tokenizer->Encode("", true).value(), ElementsAre(258));
  EXPECT_THAT(tokenizer->Encode("", false).value(), ElementsAre());
}

TEST(TokenizerTest, InvalidUtf8IsRefusedWithItsByte) {
  const auto tokenizer = Load(SmallDocument());
  ASSERT_NE(tokenizer, nullptr);
  const std::vector<std::pair<std::string, int>> cases = {
      {"\xFF", 0},      {"abc\xC3", 3},         {"abcdefghij\xC0\xAF", 10},
      {"é\x80", 2},     {"\xED\xA0\x80", 0},    {"a\xF4\x90\x80\x80", 1},
      {"a\xE2\x82", 1}, {"\xF0\x80\x80\x80", 0}};
  for (const auto& [text, byte] : cases) {
    const auto ids = tokenizer->Encode(text, false);
    ASSERT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument) << byte;
    EXPECT_THAT(std::string(ids.status().message()), EndsWith(" at byte " + std::to_string(byte)));
  }
}

TEST(TokenizerTest, DecodeRefusesUnknownIds) {
  const auto tokenizer = Load(SmallDocument());
  ASSERT_NE(tokenizer, nullptr);
  const std::vector<TokenId> ids = {'a', 259};
  EXPECT_THAT(std::string(tokenizer->Decode(ids, false).status().message()), HasSubstr("259"));
  EXPECT_EQ(tokenizer->TokenBytes(259), "");
  EXPECT_FALSE(tokenizer->IsSpecial(4000000000u));
}

TEST(TokenizerTest, SpecialTokensAreKeptOnlyWhenAsked) {
  const auto tokenizer = Load(SmallDocument());
  ASSERT_NE(tokenizer, nullptr);
  const std::vector<TokenId> ids = {258, 257, 258};
  EXPECT_EQ(tokenizer->Decode(ids, false).value(), "the");
  EXPECT_EQ(tokenizer->Decode(ids, true).value(), "<s>the<s>");
  EXPECT_TRUE(tokenizer->IsSpecial(258));
  EXPECT_EQ(tokenizer->TokenBytes(258), "");
  EXPECT_EQ(tokenizer->TokenBytes(257), "the");
}

TEST(StreamDecoderTest, HoldsBackIncompleteCharacters) {
  const auto tokenizer = Load(SmallDocument());
  ASSERT_NE(tokenizer, nullptr);
  StreamDecoder decoder(tokenizer.get());
  EXPECT_EQ(decoder.Push(0xF0), "");
  EXPECT_EQ(decoder.Push(0x9F), "");
  EXPECT_EQ(decoder.Push(258), "");  // a special token in between adds nothing
  EXPECT_EQ(decoder.Push(0x98), "");
  EXPECT_EQ(decoder.Push(0x80), "😀");
  EXPECT_EQ(decoder.Push(0xE2), "");
  EXPECT_EQ(decoder.Push('a'), "\uFFFDa");
  EXPECT_EQ(decoder.Push(0xC3), "");
  EXPECT_EQ(decoder.Flush(), "\uFFFD");
  EXPECT_EQ(decoder.Flush(), "");
}

// Any bytes: a stream shows what Decode shows, and every push gives whole characters.
TEST(StreamDecoderTest, EqualsDecodeForAnyBytes) {
  const auto tokenizer = Load(SmallDocument());
  ASSERT_NE(tokenizer, nullptr);
  const std::vector<TokenId> bytes = {0x00, 'a',  0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC2,
                                      0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF};
  uint32_t state = 1;
  for (int round = 0; round < 20000; ++round) {
    std::vector<TokenId> ids;
    StreamDecoder decoder(tokenizer.get());
    std::string text;
    for (int i = 0; i < 8; ++i) {
      state = state * 1664525u + 1013904223u;
      ids.push_back(bytes[(state >> 16) % bytes.size()]);
      const std::string shown = decoder.Push(ids.back());
      ASSERT_TRUE(tokenizer->Encode(shown, false).ok());  // refuses what is not UTF-8
      text += shown;
    }
    text += decoder.Flush();
    ASSERT_EQ(text, tokenizer->Decode(ids, false).value());
  }
}

// Quadratic work on these would take hours.
TEST(TokenizerTest, HostileTextsTakeLinearTime) {
  const auto tokenizer = LoadNeedle();
  ASSERT_NE(tokenizer, nullptr);
  constexpr size_t kBytes = 1 << 20;
  std::string mixed;
  for (size_t i = 0; i < kBytes; ++i) mixed += static_cast<char>('a' + i * i % 23);
  for (const std::string& text :
       {std::string(kBytes, 'a'), std::string(kBytes, ' ') + "x", std::string(kBytes, '!'),
        std::string(kBytes, '\n') + " x", std::string(kBytes, '<'), mixed}) {
    const auto start = std::chrono::steady_clock::now();
    const auto ids = tokenizer->Encode(text, false);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(tokenizer->Decode(*ids, false).value(), text);
    EXPECT_LT(seconds.count(), 20.0) << text.substr(0, 4);  // 0.5 s without sanitizers
  }
}

TEST(TokenizerTest, MissingFileIsNotFound) {
  const auto tokenizer = LoadTokenizer("/nonexistent/model");
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr("/nonexistent/model"));
}

}  // namespace
}  // namespace headlong
