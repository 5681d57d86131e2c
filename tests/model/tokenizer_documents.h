// tokenizer.json documents for tests: a small byte-level vocabulary, the real ones of the shared
// reference material, and loading from text through a temporary file.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/json.h"
#include "model/byte_level.h"
#include "model/tokenizer.h"

namespace headlong {

inline constexpr char kLlama3Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr char kQwen2Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

// What LoadTokenizer makes of a file with this text.
inline absl::StatusOr<std::unique_ptr<Tokenizer>> LoadFromText(const std::string& text) {
  static int count = 0;
  const auto path =
      std::filesystem::temp_directory_path() /
      ("headlong_tokenizer_" + std::to_string(getpid()) + "_" + std::to_string(count++) + ".json");
  std::ofstream(path, std::ios::binary) << text;
  auto tokenizer = LoadTokenizer(path);
  std::filesystem::remove(path);
  return tokenizer;
}

inline Json AddedTokenJson(int64_t id, const std::string& content, bool special) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

inline Json TemplateJson(const std::string& token, int64_t id) {
  return {
      {"type", "TemplateProcessing"},
      {"single", Json::array({{{"SpecialToken", {{"id", token}, {"type_id", 0}}}},
                              {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}})},
      {"special_tokens",
       {{token, {{"id", token}, {"ids", Json::array({id})}, {"tokens", Json::array({token})}}}}}};
}

// All 256 bytes (ids 0..255), "th" 256, "the" 257, "<s>" 258 as special added token.
inline Json SmallDocument() {
  Json vocab = Json::object();
  for (int byte = 0; byte < 256; ++byte) {
    vocab[ByteLevelFromBytes(std::string(1, static_cast<char>(byte)))] = byte;
  }
  vocab["th"] = 256;
  vocab["the"] = 257;
  return {
      {"version", "1.0"},
      {"added_tokens", Json::array({AddedTokenJson(258, "<s>", true)})},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
      {"post_processor", TemplateJson("<s>", 258)},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array({"t h", "th e"})}}}};
}

// A document around a vocabulary and merges as Llama 3 and Qwen 2 have it.
inline Json SplitDocument(const std::string& pattern, Json vocab, Json merges) {
  Json document = SmallDocument();
  document["added_tokens"] = Json::array();
  document["post_processor"] = nullptr;
  document["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       Json::array({{{"type", "Split"},
                     {"pattern", {{"Regex", pattern}}},
                     {"behavior", "Isolated"},
                     {"invert", false}},
                    {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}})}};
  document["model"]["vocab"] = std::move(vocab);
  document["model"]["merges"] = std::move(merges);
  return document;
}

inline void AppendUtf8(uint32_t c, std::string* text) {
  if (c < 0x80) {
    text->push_back(static_cast<char>(c));
    return;
  }
  const int tails = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  const uint32_t lead = tails == 1 ? 0xC0 : tails == 2 ? 0xE0 : 0xF0;
  text->push_back(static_cast<char>(lead | c >> (6 * tails)));
  for (int i = tails - 1; i >= 0; --i) {
    text->push_back(static_cast<char>(0x80 | ((c >> (6 * i)) & 0x3F)));
  }
}

// The lines of a merges file (vocab.bpe, merges.txt), its version line left out.
inline Json ReadMerges(const std::filesystem::path& path) {
  Json merges = Json::array();
  std::ifstream in(path, std::ios::binary);
  for (std::string line; std::getline(in, line);) {
    if (!line.empty() && !line.starts_with("#version")) merges.push_back(line);
  }
  return merges;
}

}  // namespace headlong
