// Wrong, hostile and unsupported tokenizer.json documents: one error that names the field.
#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/tokenizer_spec.h"
#include "tests/model/tokenizer_documents.h"
#include "tests/support/paths.h"

namespace headlong {
namespace {

using testing::HasSubstr;

struct BadDocument {
  std::string name;
  std::function<void(Json&)> damage;
  std::vector<std::string> message_parts;
};

void ExpectRefused(const std::vector<BadDocument>& cases, absl::StatusCode code) {
  for (const BadDocument& bad : cases) {
    SCOPED_TRACE(bad.name);
    Json document = SmallDocument();
    bad.damage(document);
    const auto spec = ParseTokenizerSpec(document.dump());
    EXPECT_EQ(spec.status().code(), code) << spec.status();
    for (const std::string& part : bad.message_parts) {
      EXPECT_THAT(std::string(spec.status().message()), HasSubstr(part));
    }
  }
}

Json& Added(Json& document) { return document["added_tokens"]; }
Json& Vocab(Json& document) { return document["model"]["vocab"]; }
Json& Merges(Json& document) { return document["model"]["merges"]; }

TEST(TokenizerJsonTest, TheUndamagedDocumentLoads) {
  const auto spec = ParseTokenizerSpec(SmallDocument().dump());
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->model.vocab.size(), 258u);
  EXPECT_EQ(spec->model.merges.size(), 2u);
}

TEST(TokenizerJsonTest, WrongVocabularies) {
  ExpectRefused(
      {{"no model", [](Json& d) { d.erase("model"); }, {"model", "an object"}},
       {"vocab array", [](Json& d) { Vocab(d) = Json::array({1}); }, {"model.vocab", "object"}},
       {"vocab empty", [](Json& d) { Vocab(d) = Json::object(); }, {"model.vocab"}},
       {"text id", [](Json& d) { Vocab(d)["the"] = "257"; }, {"model.vocab.the", "\"257\""}},
       {"negative id", [](Json& d) { Vocab(d)["the"] = -1; }, {"model.vocab.the", "-1"}},
       {"fractional id", [](Json& d) { Vocab(d)["the"] = 1.5; }, {"model.vocab.the", "1.5"}},
       {"huge id",
        [](Json& d) { Vocab(d)["the"] = 4294967296; },
        {"model.vocab.the", "4294967296"}},
       {"id twice", [](Json& d) { Vocab(d)["the"] = 256; }, {"model.vocab.the", "256", "twice"}}},
      absl::StatusCode::kInvalidArgument);
}

TEST(TokenizerJsonTest, WrongMerges) {
  ExpectRefused({{"missing", [](Json& d) { d["model"].erase("merges"); }, {"model.merges", "null"}},
                 {"left unknown",
                  [](Json& d) { Merges(d).push_back("qq e"); },
                  {"model.merges[2]", "\"qq\""}},
                 {"right unknown",
                  [](Json& d) { Merges(d).push_back("e qq"); },
                  {"model.merges[2]", "\"qq\""}},
                 {"result unknown",
                  [](Json& d) { Merges(d).push_back("e e"); },
                  {"model.merges[2]", "\"ee\""}},
                 {"one part", [](Json& d) { Merges(d)[0] = "th"; }, {"model.merges[0]", "\"th\""}},
                 {"three parts", [](Json& d) { Merges(d)[1] = "t h e"; }, {"model.merges[1]"}},
                 {"array of three",
                  [](Json& d) {
                    Merges(d)[1] = {"t", "h", "e"};
                  },
                  {"model.merges[1]"}},
                 {"number", [](Json& d) { Merges(d)[1] = 7; }, {"model.merges[1]", "7"}}},
                absl::StatusCode::kInvalidArgument);
}

TEST(TokenizerJsonTest, WrongAddedTokens) {
  ExpectRefused(
      {{"object",
        [](Json& d) {
          Added(d) = Json::object({{"a", 1}});
        },
        {"added_tokens", "array"}},
       {"string entry", [](Json& d) { Added(d)[0] = "x"; }, {"added_tokens[0]"}},
       {"no id", [](Json& d) { Added(d)[0].erase("id"); }, {"added_tokens[0]", "id", "missing"}},
       {"id out of range", [](Json& d) { Added(d)[0]["id"] = 1 << 30; }, {"added_tokens[0]", "id"}},
       {"id negative", [](Json& d) { Added(d)[0]["id"] = -3; }, {"added_tokens[0]", "id", "-3"}},
       {"no content", [](Json& d) { Added(d)[0]["content"] = ""; }, {"added_tokens[0].content"}},
       {"long content",
        [](Json& d) { Added(d)[0]["content"] = std::string(5000, 'x'); },
        {"added_tokens[0].content", "1024"}},
       {"lstrip number", [](Json& d) { Added(d)[0]["lstrip"] = 1; }, {"added_tokens[0]", "lstrip"}},
       {"id of the vocabulary",
        [](Json& d) { Added(d).push_back(AddedTokenJson(257, "<x>", false)); },
        {"added_tokens[1].id", "257", "model.vocab"}},
       {"another id than the vocabulary",
        [](Json& d) { Added(d).push_back(AddedTokenJson(300, "the", false)); },
        {"added_tokens[1].id", "300", "\"the\""}},
       {"id twice",
        [](Json& d) { Added(d).push_back(AddedTokenJson(258, "<x>", false)); },
        {"added_tokens[1]", "twice"}},
       {"content twice",
        [](Json& d) { Added(d).push_back(AddedTokenJson(300, "<s>", false)); },
        {"added_tokens[1]", "twice"}}},
      absl::StatusCode::kInvalidArgument);
}

TEST(TokenizerJsonTest, WrongSteps) {
  ExpectRefused(
      {{"pre_tokenizer text", [](Json& d) { d["pre_tokenizer"] = "ByteLevel"; }, {"pre_tokenizer"}},
       {"no type", [](Json& d) { d["decoder"].erase("type"); }, {"decoder", "type"}},
       {"sequence without list",
        [](Json& d) {
          d["pre_tokenizer"] = {{"type", "Sequence"}};
        },
        {"pre_tokenizer.pretokenizers"}},
       {"bad regex",
        [](Json& d) { d["pre_tokenizer"] = SplitDocument("a(", {}, {})["pre_tokenizer"]; },
        {"pre_tokenizer.pretokenizers[0].pattern", "a("}},
       {"unknown property",
        [](Json& d) { d["pre_tokenizer"] = SplitDocument("\\p{Qq}", {}, {})["pre_tokenizer"]; },
        {"pre_tokenizer.pretokenizers[0].pattern", "Qq"}},
       {"template id outside",
        [](Json& d) { d["post_processor"] = TemplateJson("<s>", 9999); },
        {"post_processor.special_tokens.<s>.ids", "9999"}},
       {"template token undefined",
        [](Json& d) { d["post_processor"]["special_tokens"].erase("<s>"); },
        {"post_processor.special_tokens.<s>.ids"}},
       {"template without text",
        [](Json& d) { d["post_processor"]["single"].erase(1); },
        {"post_processor.single"}}},
      absl::StatusCode::kInvalidArgument);
}

TEST(TokenizerJsonTest, UnsupportedFeaturesAreNamed) {
  ExpectRefused(
      {{"version", [](Json& d) { d["version"] = "2.0"; }, {"version", "\"2.0\""}},
       {"WordPiece",
        [](Json& d) { d["model"]["type"] = "WordPiece"; },
        {"model.type", "WordPiece"}},
       {"Unigram", [](Json& d) { d["model"]["type"] = "Unigram"; }, {"model.type", "Unigram"}},
       {"byte_fallback",
        [](Json& d) { d["model"]["byte_fallback"] = true; },
        {"model.byte_fallback", "true"}},
       {"dropout", [](Json& d) { d["model"]["dropout"] = 0.1; }, {"model.dropout", "0.1"}},
       {"suffix",
        [](Json& d) { d["model"]["end_of_word_suffix"] = "</w>"; },
        {"model.end_of_word_suffix", "</w>"}},
       {"part of the alphabet", [](Json& d) { Vocab(d).erase("q"); }, {"model.vocab", "\"q\""}},
       {"Lowercase",
        [](Json& d) {
          d["normalizer"] = {{"type", "Lowercase"}};
        },
        {"normalizer.type", "Lowercase"}},
       {"Replace of a pattern",
        [](Json& d) {
          d["normalizer"] = {
              {"type", "Sequence"},
              {"normalizers",
               {{{"type", "NFC"}},
                {{"type", "Replace"}, {"pattern", {{"Regex", " +"}}}, {"content", "_"}}}}};
        },
        {"normalizer.normalizers[1].pattern.Regex", " +"}},
       {"Metaspace scheme",
        [](Json& d) {
          d["pre_tokenizer"] = {
              {"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "last"}};
        },
        {"pre_tokenizer.prepend_scheme", "last"}},
       {"Whitespace",
        [](Json& d) { d["pre_tokenizer"]["type"] = "Whitespace"; },
        {"pre_tokenizer.type", "Whitespace"}},
       {"no pre_tokenizer",
        [](Json& d) { d["pre_tokenizer"] = nullptr; },
        {"pre_tokenizer", "ByteLevel"}},
       {"decoder of spaces",
        [](Json& d) { d["decoder"]["type"] = "Metaspace"; },
        {"decoder.type", "Metaspace"}},
       {"fallback of a model without bytes",
        [](Json& d) { d["decoder"]["type"] = "ByteFallback"; },
        {"model.byte_fallback", "false"}},
       {"no fallback", [](Json& d) { d["decoder"]["type"] = "Fuse"; }, {"decoder", "ByteFallback"}},
       {"order of the decoder",
        [](Json& d) {
          d["decoder"] = {{"type", "Sequence"},
                          {"decoders", {{{"type", "Fuse"}}, {{"type", "ByteFallback"}}}}};
        },
        {"decoder.decoders[1]", "ByteFallback behind Fuse"}},
       {"no decoder", [](Json& d) { d["decoder"] = nullptr; }, {"decoder", "null"}},
       {"Roberta",
        [](Json& d) { d["post_processor"]["type"] = "RobertaProcessing"; },
        {"post_processor.type", "RobertaProcessing"}},
       {"two texts",
        [](Json& d) { d["post_processor"]["single"].push_back(d["post_processor"]["single"][1]); },
        {"post_processor.single[2]"}},
       {"possessive interval",
        [](Json& d) { d["pre_tokenizer"] = SplitDocument("a{1,3}+", {}, {})["pre_tokenizer"]; },
        {"pretokenizers[0].pattern.Regex", "{1,3}+"}}},
      absl::StatusCode::kUnimplemented);
}

TEST(TokenizerJsonTest, CharactersFallBackToAllBytes) {
  const auto golden = ReadJsonFile(GoldenPath("tokenizer_fallback.json"));
  ASSERT_TRUE(golden.ok()) << golden.status();
  Json document = (*golden)["cases"][0]["document"];
  document["model"] = (*golden)["model"];
  ASSERT_TRUE(ParseTokenizerSpec(document.dump()).ok());
  document["model"]["vocab"].erase("<0xE2>");
  const auto spec = ParseTokenizerSpec(document.dump());
  EXPECT_EQ(spec.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(spec.status().message()), HasSubstr("model.vocab: without a token for"));
  EXPECT_THAT(std::string(spec.status().message()), HasSubstr("<0xE2>"));
}

// Ids between used ones may be free; they are in the vocabulary's size and nothing else.
TEST(TokenizerJsonTest, GapsBetweenIdsAreAllowed) {
  Json document = SmallDocument();
  Added(document).push_back(AddedTokenJson(1000, "<x>", false));
  const auto tokenizer = LoadFromText(document.dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocab_size(), 1001);
  EXPECT_EQ((*tokenizer)->TokenBytes(1000), "<x>");
  EXPECT_FALSE((*tokenizer)->Decode(std::vector<TokenId>{500}, false).ok());
}

TEST(TokenizerJsonTest, EveryTruncationIsRefused) {
  const std::string text = SmallDocument().dump();
  for (size_t bytes = 0; bytes < text.size(); bytes += 7) {
    EXPECT_EQ(ParseTokenizerSpec(text.substr(0, bytes)).status().code(),
              absl::StatusCode::kInvalidArgument)
        << bytes;
  }
}

TEST(TokenizerJsonTest, TheSameKeyTwiceIsRefused) {
  const std::string text = SmallDocument().dump();
  const size_t at = text.find("\"the\":257");
  ASSERT_NE(at, std::string::npos);
  const auto spec = ParseTokenizerSpec(text.substr(0, at) + "\"the\":999," + text.substr(at));
  EXPECT_THAT(std::string(spec.status().message()), HasSubstr("\"the\" stands twice"));
}

TEST(TokenizerJsonTest, ErrorsNameTheFile) {
  Json document = SmallDocument();
  document["model"]["type"] = "Unigram";
  const auto tokenizer = LoadFromText(document.dump());
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr("headlong_tokenizer_"));
}

}  // namespace
}  // namespace headlong
