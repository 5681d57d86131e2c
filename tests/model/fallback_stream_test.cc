// Streams of a tokenizer whose characters fall back to bytes: the space in front, bytes over
// tokens.
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/model/tokenizer_documents.h"
#include "tests/support/paths.h"

namespace headlong {
namespace {

class FallbackStream : public testing::Test {
 protected:
  void SetUp() override {
    const auto golden = ReadJsonFile(GoldenPath("tokenizer_fallback.json"));
    ASSERT_TRUE(golden.ok()) << golden.status();
    Json document = (*golden)["cases"][0]["document"];  // as Llama 2 has it
    document["model"] = (*golden)["model"];
    vocab_ = document["model"]["vocab"];
    auto tokenizer = LoadFromText(document.dump());
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
  }

  TokenId Id(const std::string& text) const { return vocab_.at(text).get<TokenId>(); }
  std::string Streamed(const std::vector<TokenId>& ids, bool mid_text) const {
    StreamDecoder decoder(tokenizer_.get(), mid_text);
    std::string text;
    for (const TokenId id : ids) text += decoder.Push(id);
    return text + decoder.Flush();
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  Json vocab_;
};

TEST_F(FallbackStream, OneSpaceIsTakenOffTheFront) {
  const std::vector<TokenId> ids = {1, Id("▁foo"), Id("▁the")};
  EXPECT_EQ(Streamed(ids, /*mid_text=*/false), "foo the");
  EXPECT_EQ(Streamed(ids, /*mid_text=*/true), " foo the");
  EXPECT_EQ(Streamed({Id("▁▁"), Id("▁foo")}, false), "  foo");
  EXPECT_EQ(Streamed({Id("a"), Id("▁the")}, false), "a the");
  EXPECT_EQ(Streamed({Id("▁")}, false), "");
}

TEST_F(FallbackStream, BytesWaitForTheirCharacter) {
  StreamDecoder decoder(tokenizer_.get());
  EXPECT_EQ(decoder.Push(Id("<0xF0>")), "");
  EXPECT_EQ(decoder.Push(Id("<0x9F>")), "");
  EXPECT_EQ(decoder.Push(Id("<0x98>")), "");
  EXPECT_EQ(decoder.Push(Id("<0x80>")), "😀");
  EXPECT_EQ(decoder.Push(Id("<0xE2>")), "");
  EXPECT_EQ(decoder.Push(Id("<0x82>")), "");
  EXPECT_EQ(decoder.Push(Id("a")), "\uFFFD\uFFFDa");  // one for each byte
  EXPECT_EQ(decoder.Push(Id("<0xE2>")), "");
  EXPECT_EQ(decoder.Push(Id("<0x82>")), "");
  EXPECT_EQ(decoder.Flush(), "\uFFFD\uFFFD");
}

TEST_F(FallbackStream, EqualsDecodeForAnyTokens) {
  uint32_t state = 1;
  for (int round = 0; round < 20000; ++round) {
    std::vector<TokenId> ids;
    for (int i = 0; i < 8; ++i) {
      state = state * 1664525u + 1013904223u;
      ids.push_back((state >> 8) % tokenizer_->vocab_size());
    }
    ASSERT_EQ(Streamed(ids, false), tokenizer_->Decode(ids, false).value());
  }
}

// Where a text may be cut is not seen in its ids: what merges across spaces merges anywhere.
TEST_F(FallbackStream, LongTextsComeBack) {
  std::string text;
  uint32_t state = 7;
  for (int i = 0; i < 200000; ++i) {
    state = state * 1664525u + 1013904223u;
    static constexpr std::string_view kParts[] = {"the", " ",  "x", "é", "foo",
                                                  "日",  "本", "😀", "a"};
    text += kParts[(state >> 16) % std::size(kParts)];
  }
  const auto ids = tokenizer_->Encode(text, true);
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_TRUE(tokenizer_->Decode(*ids, false).value() == text);
}

}  // namespace
}  // namespace headlong
