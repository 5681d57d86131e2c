// Documents around the real vocabularies of the shared reference material, which lie there without
// one. `data` is its folder.
#pragma once

#include <filesystem>

#include "tests/model/tokenizer_documents.h"

namespace headlong {

// The vocabularies of Llama 3 and Qwen 2 in the reference material, as their documents have them.
inline Json Llama3Document(const std::filesystem::path& data) {
  Json document = SplitDocument(kLlama3Pattern,
                                ReadJsonFile(data / "tokenizers/llama3.2-bpe/encoder.json").value(),
                                ReadMerges(data / "tokenizers/llama3.2-bpe/vocab.bpe"));
  document["model"]["ignore_merges"] = true;
  document["added_tokens"] = {AddedTokenJson(128000, "<|begin_of_text|>", true),
                              AddedTokenJson(128001, "<|end_of_text|>", true),
                              AddedTokenJson(128002, "<|reserved_special_token_0|>", true)};
  document["post_processor"] = TemplateJson("<|begin_of_text|>", 128000);
  return document;
}

inline Json Qwen2Document(const std::filesystem::path& data) {
  Json document =
      SplitDocument(kQwen2Pattern, ReadJsonFile(data / "tokenizers/qwen2/vocab.json").value(),
                    ReadMerges(data / "tokenizers/qwen2/merges.txt"));
  document["normalizer"] = {{"type", "NFC"}};
  document["added_tokens"] = {AddedTokenJson(151643, "<|endoftext|>", true),
                              AddedTokenJson(151644, "<|im_start|>", true),
                              AddedTokenJson(151645, "<|im_end|>", true)};
  return document;
}

}  // namespace headlong
