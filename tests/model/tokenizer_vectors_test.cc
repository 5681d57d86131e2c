// Vectors of other projects on real vocabularies, from the shared reference material.
#include "tests/model/tokenizer_vectors.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/model/tokenizer_documents.h"
#include "tests/support/paths.h"

namespace headlong {
namespace {

using VectorsTokenizer = VectorsFixture;

TEST_F(VectorsTokenizer, LlamaCppGpt2) {
  CheckLlamaCppVectors("ggml-vocab-gpt-2", Load(Gpt2Document(/*with_blanks=*/false)).get());
}

TEST_F(VectorsTokenizer, LlamaCppLlama3) {
  CheckLlamaCppVectors("ggml-vocab-llama-bpe", Load(Llama3Document()).get());
}

TEST_F(VectorsTokenizer, TransformersJsGpt2) {
  const auto tokenizer = Load(Gpt2Document(/*with_blanks=*/false));
  ASSERT_NE(tokenizer, nullptr);
  const Json vectors = Read("vectors/transformers.js/Xenova--gpt2.json");
  ASSERT_FALSE(vectors["cases"].empty());
  for (const Json& example : vectors["cases"]) {
    const std::string text = example["text"];
    const auto ids = tokenizer->Encode(text, false);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, example["ids"].get<std::vector<TokenId>>()) << example["name"];
    // Their "decoded" has blanks before punctuation removed, which loses text.
    EXPECT_EQ(tokenizer->Decode(*ids, true).value(), text) << example["name"];
  }
}

TEST_F(VectorsTokenizer, GoldenGpt2WithBlanks) {
  CheckGoldenTexts("gpt2-hf", Load(Gpt2Document(/*with_blanks=*/true)).get());
}

TEST_F(VectorsTokenizer, GoldenLlama3) { CheckGoldenTexts("llama3", Load(Llama3Document()).get()); }

TEST_F(VectorsTokenizer, GoldenQwen2) { CheckGoldenTexts("qwen2", Load(Qwen2Document()).get()); }

// Tokens back to text: nothing of a whole file is lost or repeated by the stream decoder.
TEST_F(VectorsTokenizer, StreamOfAWholeFile) {
  const auto path = SharedPath("data/text/wikitext-2/test.txt");
  if (!path.has_value()) GTEST_SKIP() << "the shared text is not there";
  const auto text = ReadFile(*path);
  ASSERT_TRUE(text.ok()) << text.status();
  const auto tokenizer = Load(Qwen2Document());
  ASSERT_NE(tokenizer, nullptr);
  const auto ids = tokenizer->Encode(*text, false);
  ASSERT_TRUE(ids.ok()) << ids.status();
  StreamDecoder decoder(tokenizer.get());
  std::string streamed;
  for (const TokenId id : *ids) streamed += decoder.Push(id);
  streamed += decoder.Flush();
  EXPECT_TRUE(streamed == *text);
}

}  // namespace
}  // namespace headlong
