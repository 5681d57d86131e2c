#include "model/tokenizer_files.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "common/status.h"
#include "model/sentencepiece_model.h"
#include "model/tokenizer_json.h"

namespace headlong {
namespace {

namespace fs = std::filesystem;

constexpr char kConfigFile[] = "tokenizer_config.json";

// How a class of tokenizers cuts a text into words; no file but tokenizer.json says it.
struct WordRule {
  const char* pattern;  // null: GPT-2's own
  bool nfc;
  bool ignore_merges;
  bool bos;  // in front of a text unless add_bos_token says otherwise
};

// meta-llama/llama-models, models/llama3/tokenizer.py.
constexpr char kLlama3Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
// huggingface/transformers, models/qwen2/tokenization_qwen2.py.
constexpr char kQwen2Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

// By tokenizer_class without "Fast", and by model_type.
const WordRule* FindRule(const Json& name) {
  static const auto* const kRules =
      new std::map<std::string, WordRule>{{"GPT2Tokenizer", {nullptr, false, false, false}},
                                          {"CodeGenTokenizer", {nullptr, false, false, false}},
                                          {"gpt2", {nullptr, false, false, false}},
                                          {"Qwen2Tokenizer", {kQwen2Pattern, true, false, false}},
                                          {"qwen2", {kQwen2Pattern, true, false, false}},
                                          {"qwen3", {kQwen2Pattern, true, false, false}},
                                          {"llama", {kLlama3Pattern, false, true, true}}};
  if (!name.is_string()) return nullptr;
  std::string key = name.get<std::string>();
  if (key.ends_with("Fast")) key.resize(key.size() - 4);
  const auto it = kRules->find(key);
  return it == kRules->end() ? nullptr : &it->second;
}

// The file as JSON; null when it is not there.
absl::StatusOr<Json> ReadIfThere(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return Json();
  ASSIGN_OR_RETURN(Json json, ReadJsonFile(path));
  if (!json.is_object()) return WrongType(path.string(), "an object", json);
  return json;
}

absl::StatusOr<WordRule> RuleOf(const Json& config, const Json& model_config) {
  const Json& name = FieldOrNull(config, "tokenizer_class");
  if (const WordRule* rule = FindRule(name); rule != nullptr) return *rule;
  const Json& model_type = FieldOrNull(model_config, "model_type");
  if (const WordRule* rule = FindRule(model_type); rule != nullptr) return *rule;
  return Unsupported(absl::StrCat(kConfigFile, ": tokenizer_class (nor config.json: model_type)"),
                     Json::array({name, model_type}));
}

// A token that a configuration names as a string or as an object with content.
std::optional<std::string> TokenName(const Json& token) {
  const Json& name = token.is_object() ? FieldOrNull(token, "content") : token;
  if (!name.is_string()) return std::nullopt;
  return name.get<std::string>();
}

// Tokens that are special because the configuration names them, though only the vocabulary (or the
// added_tokens.json of older folders) tells their ids.
Json NamedTokens(const Json& config, const Json& vocab, const Json& added) {
  std::map<std::string, bool> special;
  for (const char* const key : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    if (const auto name = TokenName(FieldOrNull(config, key))) special[*name] = true;
  }
  for (const Json& token : FieldOrNull(config, "additional_special_tokens")) {
    if (const auto name = TokenName(token)) special[*name] = true;
  }
  Json tokens = Json::array();
  for (const auto& [name, id] : added.items()) {
    tokens.push_back({{"id", id}, {"content", name}, {"special", special.contains(name)}});
    special.erase(name);
  }
  for (const auto& [name, yes] : special) {
    if (const Json& id = FieldOrNull(vocab, name); !id.is_null()) {
      tokens.push_back({{"id", id}, {"content", name}, {"special", yes}});
    }
  }
  return tokens;
}

Json SplitMerges(const std::string& text) {
  Json merges = Json::array();
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty() && !line.starts_with("#version")) merges.push_back(std::move(line));
    at = end + 1;
  }
  return merges;
}

absl::StatusOr<Json> BosTemplate(const WordRule& rule, const Json& config, const Json& tokens) {
  ASSIGN_OR_RETURN(const bool wanted, OptionalBool(config, "add_bos_token", rule.bos, kConfigFile));
  const std::optional<std::string> bos = TokenName(FieldOrNull(config, "bos_token"));
  if (!wanted || !bos) return Json();
  const auto token = std::find_if(tokens.begin(), tokens.end(), [&](const Json& entry) {
    return FieldOrNull(entry, "content") == *bos;
  });
  if (token == tokens.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(kConfigFile, ": bos_token: ", *bos, " is not in the vocabulary"));
  }
  return Json{
      {"type", "TemplateProcessing"},
      {"single", Json::array({{{"SpecialToken", {{"id", *bos}}}}, {{"Sequence", {{"id", "A"}}}}})},
      {"special_tokens", {{*bos, {{"ids", Json::array({(*token)["id"]})}}}}}};
}

// The files of a pair under either of their names; nullopt when they are not there.
std::optional<std::pair<fs::path, fs::path>> FindPair(const fs::path& folder) {
  std::error_code error;
  for (const auto& [vocab, merges] :
       {std::pair("vocab.json", "merges.txt"), std::pair("encoder.json", "vocab.bpe")}) {
    if (fs::exists(folder / vocab, error) && fs::exists(folder / merges, error)) {
      return std::pair(folder / vocab, folder / merges);
    }
  }
  return std::nullopt;
}

absl::StatusOr<VocabFiles> ReadVocabFiles(const fs::path& folder, const fs::path& vocab,
                                          const fs::path& merges) {
  VocabFiles files;
  ASSIGN_OR_RETURN(files.vocab, ReadJsonFile(vocab));
  ASSIGN_OR_RETURN(files.merges, ReadFile(merges));
  ASSIGN_OR_RETURN(files.tokenizer_config, ReadIfThere(folder / kConfigFile));
  ASSIGN_OR_RETURN(files.added_tokens, ReadIfThere(folder / "added_tokens.json"));
  ASSIGN_OR_RETURN(files.model_config, ReadIfThere(folder / "config.json"));
  return files;
}

absl::StatusOr<TokenizerSpec> ReadFolder(const fs::path& folder) {
  std::error_code error;
  if (!fs::exists(folder / "tokenizer.json", error)) {
    if (fs::exists(folder / "tokenizer.model", error)) {
      ASSIGN_OR_RETURN(const Json config, ReadIfThere(folder / kConfigFile));
      ASSIGN_OR_RETURN(const std::string bytes, ReadFile(folder / "tokenizer.model"));
      auto spec = SpecFromSentencePiece(bytes, config);
      return spec.ok() ? spec : Annotate(spec.status(), (folder / "tokenizer.model").string());
    }
    if (const auto pair = FindPair(folder)) {
      ASSIGN_OR_RETURN(VocabFiles files, ReadVocabFiles(folder, pair->first, pair->second));
      const auto document = DocumentFromVocabAndMerges(std::move(files));
      if (!document.ok()) return Annotate(document.status(), folder.string());
      auto spec = TokenizerSpecFromJson(*document);
      return spec.ok() ? spec : Annotate(spec.status(), folder.string());
    }
  }
  return ReadTokenizerSpec(folder / "tokenizer.json");
}

}  // namespace

Json MergeAddedTokens(Json tokens, const Json& config) {
  const Json& decoder = FieldOrNull(config, "added_tokens_decoder");
  for (const auto& [key, entry] : decoder.items()) {
    Json token = entry;
    int64_t id = 0;
    if (token.is_object()) token["id"] = absl::SimpleAtoi(key, &id) ? Json(id) : Json(key);
    if (token.is_object() && id >= 0) token["id"] = static_cast<uint64_t>(id);
    const auto same = [&](const Json& other) {
      return FieldOrNull(other, "id") == FieldOrNull(token, "id");
    };
    const auto it = std::find_if(tokens.begin(), tokens.end(), same);
    if (it == tokens.end()) {
      tokens.push_back(std::move(token));
    } else {
      *it = std::move(token);
    }
  }
  return tokens;
}

absl::StatusOr<Json> DocumentFromVocabAndMerges(VocabFiles files) {
  const Json& config = files.tokenizer_config;
  ASSIGN_OR_RETURN(const WordRule rule, RuleOf(config, files.model_config));
  ASSIGN_OR_RETURN(const bool prefix, OptionalBool(config, "add_prefix_space", false, kConfigFile));
  Json tokens = MergeAddedTokens(NamedTokens(config, files.vocab, files.added_tokens), config);
  ASSIGN_OR_RETURN(Json bos, BosTemplate(rule, config, tokens));
  Json steps = Json::array();
  if (rule.pattern != nullptr) {
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", rule.pattern}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  steps.push_back({{"type", "ByteLevel"},
                   {"add_prefix_space", prefix},
                   {"use_regex", rule.pattern == nullptr}});
  return Json{{"added_tokens", std::move(tokens)},
              {"normalizer", rule.nfc ? Json{{"type", "NFC"}} : Json()},
              {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}}},
              {"post_processor", std::move(bos)},
              {"decoder", {{"type", "ByteLevel"}}},
              {"model",
               {{"type", "BPE"},
                {"ignore_merges", rule.ignore_merges},
                {"vocab", std::move(files.vocab)},
                {"merges", SplitMerges(files.merges)}}}};
}

absl::StatusOr<TokenizerSpec> ReadTokenizerSpec(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return ReadFolder(path);
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  const size_t first = bytes.find_first_not_of(" \t\r\n\xEF\xBB\xBF");
  const bool json =
      path.extension() == ".json" || (first != std::string::npos && bytes[first] == '{');
  auto spec = json ? ParseTokenizerSpec(bytes) : SpecFromSentencePiece(bytes, Json());
  return spec.ok() ? spec : Annotate(spec.status(), path.string());
}

}  // namespace headlong
