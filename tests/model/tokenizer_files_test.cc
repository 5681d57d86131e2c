// Folders without tokenizer.json: what vocab.json, merges.txt and the files beside them make.
#include "model/tokenizer_files.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/tokenizer_json.h"
#include "tests/model/tokenizer_documents.h"

namespace headlong {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The files of a GPT-2 whose ids are those of SmallDocument.
VocabFiles SmallFiles() {
  VocabFiles files;
  files.vocab = Json::parse(SmallDocument()["model"]["vocab"].dump());  // as read from a file
  files.vocab["<s>"] = uint64_t{258};
  files.merges = "#version: 0.2\nt h\r\nth e\n\n";
  files.tokenizer_config = {{"tokenizer_class", "GPT2Tokenizer"}, {"bos_token", "<s>"}};
  return files;
}

std::unique_ptr<Tokenizer> Build(VocabFiles files) {
  const auto document = DocumentFromVocabAndMerges(std::move(files));
  EXPECT_TRUE(document.ok()) << document.status();
  const auto spec = TokenizerSpecFromJson(document.ok() ? *document : Json());
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.ok() ? BuildTokenizer(*spec).value() : nullptr;
}

TEST(VocabFilesTest, MakeATokenizer) {
  const auto tokenizer = Build(SmallFiles());
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_THAT(tokenizer->Encode("the<s>", true).value(), ElementsAre(257, 258));
  EXPECT_TRUE(tokenizer->IsSpecial(258));
  EXPECT_EQ(tokenizer->Decode(std::vector<TokenId>{257, 258}, true).value(), "the<s>");
}

TEST(VocabFilesTest, TheClassMayBeThatOfTheModel) {
  VocabFiles files = SmallFiles();
  files.tokenizer_config = {{"bos_token", {{"content", "<s>"}}}};
  EXPECT_THAT(std::string(DocumentFromVocabAndMerges(files).status().message()),
              HasSubstr("tokenizer_class (nor config.json: model_type)"));
  files.model_config = {{"model_type", "llama"}};
  const auto tokenizer = Build(files);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_THAT(tokenizer->Encode("the", true).value(), ElementsAre(258, 257));
}

TEST(VocabFilesTest, AddedTokensComeFromEveryFile) {
  VocabFiles files = SmallFiles();
  files.added_tokens = {{"<x>", uint64_t{259}}};
  files.tokenizer_config["added_tokens_decoder"] = {
      {"260", {{"content", "<y>"}, {"special", true}}}};
  files.tokenizer_config["additional_special_tokens"] = {"<x>"};
  const auto tokenizer = Build(files);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_THAT(tokenizer->Encode("<x><y>", true).value(), ElementsAre(259, 260));
  EXPECT_TRUE(tokenizer->IsSpecial(259));
  EXPECT_TRUE(tokenizer->IsSpecial(260));
}

// Entries that are no tokens are named; they neither end the process nor pass for the start token.
TEST(VocabFilesTest, EntriesThatAreNoTokensAreRefused) {
  for (const Json& entry : {Json(7), Json("<s>"), Json::object(), Json{{"special", true}},
                            Json{{"content", 5}}, Json::array(), Json()}) {
    VocabFiles files = SmallFiles();
    files.tokenizer_config["add_bos_token"] = true;
    files.tokenizer_config["added_tokens_decoder"] = {{"259", entry}};
    const auto document = DocumentFromVocabAndMerges(files);
    ASSERT_TRUE(document.ok()) << document.status();
    const auto spec = TokenizerSpecFromJson(*document);
    EXPECT_TRUE(absl::IsInvalidArgument(spec.status())) << entry;
    EXPECT_THAT(std::string(spec.status().message()), HasSubstr("added_tokens[1]")) << entry;
  }
}

TEST(VocabFilesTest, AStartTokenThatIsNowhereIsRefused) {
  VocabFiles files = SmallFiles();
  files.tokenizer_config["add_bos_token"] = true;
  files.tokenizer_config["bos_token"] = "<start>";
  EXPECT_THAT(std::string(DocumentFromVocabAndMerges(files).status().message()),
              HasSubstr("bos_token: <start> is not in the vocabulary"));
}

}  // namespace
}  // namespace headlong
