// Published vectors on real vocabularies: where they lie, and how a tokenizer is held against them.
#pragma once

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/model/real_documents.h"
#include "tests/model/tokenizer_documents.h"
#include "tests/support/paths.h"

namespace headlong {

class VectorsFixture : public testing::Test {
 protected:
  void SetUp() override {
    const auto data = SharedPath("data");
    if (!data.has_value()) GTEST_SKIP() << "the shared reference material is not there";
    data_ = *data;
  }

  Json Read(const std::string& name) const {
    auto json = ReadJsonFile(data_ / name);
    EXPECT_TRUE(json.ok()) << json.status();
    return json.ok() ? *std::move(json) : Json();
  }

  // GPT-2 with the runs of blanks that CodeGen and Phi add as tokens, or without.
  Json Gpt2Document(bool with_blanks) const {
    Json document = Read("tokenizers/gpt2-hf/tokenizer.json");
    if (!with_blanks) document["added_tokens"] = Json::array({document["added_tokens"][0]});
    return document;
  }

  std::unique_ptr<Tokenizer> LoadFile(const std::string& name) const {
    auto tokenizer = LoadTokenizer(data_ / "tokenizers" / name);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
  }

  Json Llama3Document() const { return headlong::Llama3Document(data_); }
  Json Qwen2Document() const { return headlong::Qwen2Document(data_); }

  static std::unique_ptr<Tokenizer> Load(const Json& document) {
    auto tokenizer = LoadFromText(document.dump());
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
  }

  const std::filesystem::path& data() const { return data_; }

  // Every tokenizer of the reference material, by name.
  std::vector<std::pair<std::string, std::unique_ptr<Tokenizer>>> AllTokenizers() const {
    std::vector<std::pair<std::string, std::unique_ptr<Tokenizer>>> all;
    all.emplace_back("llama3", Load(Llama3Document()));
    for (const char* name : {"gpt2-hf", "qwen2", "llama2", "phi3-llama2style"}) {
      all.emplace_back(name, LoadFile(name));
    }
    for (const auto& entry : std::filesystem::directory_iterator(data_ / "tokenizers/mistral")) {
      const std::string name = "mistral/" + entry.path().filename().string();
      all.emplace_back(name, LoadFile(name));
    }
    return all;
  }

  // NAME.inp: texts between "\n__ggml_vocab_test__\n"; NAME.out: one line of ids for each.
  void CheckLlamaCppVectors(const std::string& name, const Tokenizer* tokenizer) const {
    ASSERT_NE(tokenizer, nullptr);
    const auto input = ReadFile(data_ / ("vectors/llama.cpp/" + name + ".gguf.inp"));
    const auto output = ReadFile(data_ / ("vectors/llama.cpp/" + name + ".gguf.out"));
    ASSERT_TRUE(input.ok() && output.ok()) << input.status() << output.status();
    static const std::string kSeparator = "\n__ggml_vocab_test__\n";
    std::istringstream lines(*output);
    int checked = 0;
    for (size_t at = 0; at <= input->size(); ++checked) {
      const size_t end = std::min(input->find(kSeparator, at), input->size());
      const std::string text = input->substr(at, end - at);
      at = end + kSeparator.size();
      std::string line;
      if (!std::getline(lines, line)) break;  // the last separator stands before nothing
      std::istringstream numbers(line);
      const std::vector<TokenId> expected{std::istream_iterator<TokenId>(numbers), {}};
      const auto ids = tokenizer->Encode(text, false);
      ASSERT_TRUE(ids.ok()) << ids.status();
      EXPECT_EQ(*ids, expected) << "vector " << checked << ": " << text;
      EXPECT_EQ(tokenizer->Decode(*ids, false).value(), text);
    }
    EXPECT_GE(checked, 40);
  }

  // Texts of our own; ids by PyPI tokenizers: tests/golden/tokenizer_texts.json.
  void CheckGoldenTexts(const std::string& name, const Tokenizer* tokenizer) const {
    ASSERT_NE(tokenizer, nullptr);
    const auto golden = ReadJsonFile(GoldenPath("tokenizer_texts.json"));
    ASSERT_TRUE(golden.ok()) << golden.status();
    int checked = 0;
    for (const Json& row : (*golden)["cases"]) {
      if (row["tokenizer"] != name) continue;
      const auto ids = tokenizer->Encode(row["text"].get<std::string>(), true);
      ASSERT_TRUE(ids.ok()) << ids.status();
      EXPECT_EQ(*ids, row["ids"].get<std::vector<TokenId>>()) << row["text"];
      EXPECT_EQ(tokenizer->Decode(*ids, false).value(), row["decoded"]);
      ++checked;
    }
    EXPECT_GT(checked, 0);
  }

 private:
  std::filesystem::path data_;
};

}  // namespace headlong
