// From tokens to text: characters cut by tokens, stop strings across tokens, ends, resumption.
#include "coordinator/delivery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "model/utf8.h"
#include "tests/model/tokenizer_documents.h"

namespace headlong {
namespace {

constexpr TokenId kEos = 258;  // "<s>" of the small document; 0..255 are bytes
constexpr int64_t kMany = 1000;

class Delivering : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto tokenizer = LoadFromText(SmallDocument().dump());
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = tokenizer->release();
  }
  static void TearDownTestSuite() { delete tokenizer_; }

  static std::vector<TokenId> BytesOf(const std::string& text) {
    std::vector<TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }

  // Pushes until the delivery ends: the pieces joined, what Flush gave last.
  static std::string Drain(Delivery& delivery, const std::vector<TokenId>& ids) {
    std::string text;
    for (const TokenId id : ids) {
      if (delivery.finished()) break;
      const std::string piece = delivery.Push(id);
      EXPECT_EQ(ValidUtf8Prefix(piece), piece.size()) << "a piece cuts a character";
      text += piece;
    }
    return text + delivery.Flush();
  }

  inline static const Tokenizer* tokenizer_ = nullptr;
};

TEST_F(Delivering, ACharacterWaitsForItsLastByte) {
  Delivery delivery(tokenizer_, {{}, {}, kMany});
  EXPECT_EQ(delivery.Push(0xe2), "");
  EXPECT_EQ(delivery.Push(0x82), "");
  EXPECT_EQ(delivery.Push(0xac), "\u20ac");
  EXPECT_EQ(delivery.Flush(), "");
}

TEST_F(Delivering, AnUnfinishedCharacterEndsAsReplacement) {
  Delivery delivery(tokenizer_, {{}, {}, 2});
  EXPECT_EQ(delivery.Push('a'), "a");
  EXPECT_EQ(delivery.Push(0xe2), "");
  EXPECT_EQ(delivery.finished(), FinishReason::kLength);
  EXPECT_EQ(delivery.Flush(), "\ufffd");
}

TEST_F(Delivering, EosEndsAndHasNoText) {
  Delivery delivery(tokenizer_, {{kEos}, {}, kMany});
  EXPECT_EQ(delivery.Push('a'), "a");
  EXPECT_FALSE(delivery.finished());
  EXPECT_EQ(delivery.Push(kEos), "");
  EXPECT_EQ(delivery.finished(), FinishReason::kStop);
  EXPECT_EQ(delivery.Flush(), "");
}

TEST_F(Delivering, IgnoredEosGoesOn) {
  Delivery delivery(tokenizer_, {{}, {}, 3});
  EXPECT_EQ(Drain(delivery, {'a', kEos, 'b', 'c'}), "ab");
  EXPECT_EQ(delivery.finished(), FinishReason::kLength);
}

TEST_F(Delivering, EosAtTheLimitIsAStop) {
  Delivery delivery(tokenizer_, {{kEos}, {}, 1});
  delivery.Push(kEos);
  EXPECT_EQ(delivery.finished(), FinishReason::kStop);
}

TEST_F(Delivering, StopStringAcrossTokensIsCutOut) {
  Delivery delivery(tokenizer_, {{}, {"\u20ac!"}, kMany});
  EXPECT_EQ(Drain(delivery, BytesOf("ab\u20ac?\u20ac!more")), "ab\u20ac?");
  EXPECT_EQ(delivery.finished(), FinishReason::kStop);
}

TEST_F(Delivering, HeldStopPrefixIsGivenAtTheEnd) {
  Delivery delivery(tokenizer_, {{}, {"END"}, 4});
  EXPECT_EQ(delivery.Push('a'), "a");
  EXPECT_EQ(delivery.Push('E'), "");
  EXPECT_EQ(delivery.Push('N'), "");
  EXPECT_EQ(delivery.Push('E'), "EN") << "another one may begin here";
  EXPECT_EQ(delivery.finished(), FinishReason::kLength);
  EXPECT_EQ(delivery.Flush(), "E");
}

TEST_F(Delivering, RandomTextIsNeitherLostNorRepeated) {
  std::mt19937_64 random(3);
  const std::string alphabet[] = {"a", "b", "\u00e9", "\u20ac", "\U0001f600"};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 40; ++i) text += alphabet[random() % 5];
    const std::vector<std::string> stops = {"ab\u00e9\u20aca", "\U0001f600\U0001f600b"};
    size_t cut = text.size();
    for (const std::string& stop : stops) cut = std::min(cut, text.find(stop));
    Delivery delivery(tokenizer_, {{}, stops, kMany});
    ASSERT_EQ(Drain(delivery, BytesOf(text)), text.substr(0, cut)) << text;
  }
}

// A client that lost its connection after any token gets the rest, and only the rest.
TEST_F(Delivering, ResumedAnywhereTheTextGoesOn) {
  const std::string text = "xEN\u20acENDy";
  const std::vector<TokenId> ids = BytesOf(text);
  Delivery undisturbed(tokenizer_, {{}, {"END"}, kMany});
  std::vector<std::string> pieces;
  for (const TokenId id : ids) {
    if (!undisturbed.finished()) pieces.push_back(undisturbed.Push(id));
  }
  for (size_t at = 0; at < pieces.size(); ++at) {
    Delivery resumed(tokenizer_, {{}, {"END"}, kMany});
    resumed.Prime(std::span(ids).first(at));
    for (size_t i = at; i < pieces.size(); ++i) EXPECT_EQ(resumed.Push(ids[i]), pieces[i]);
    EXPECT_EQ(resumed.finished(), FinishReason::kStop);
    EXPECT_EQ(resumed.Flush(), "");
  }
}

TEST_F(Delivering, ResumedTokensCountAndMayBeAll) {
  Delivery delivery(tokenizer_, {{}, {}, 3});
  delivery.Prime(BytesOf("ab"));
  EXPECT_FALSE(delivery.finished());
  EXPECT_EQ(delivery.Push('c'), "c");
  EXPECT_EQ(delivery.finished(), FinishReason::kLength);
  Delivery complete(tokenizer_, {{}, {}, 2});
  complete.Prime(BytesOf("ab"));
  EXPECT_EQ(complete.finished(), FinishReason::kLength);
}

}  // namespace
}  // namespace headlong
