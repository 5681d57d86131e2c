// The document, its added tokens and its BPE model. Fields that change nothing for a server are not
// read: truncation and padding (transformers overrides them too), offsets, type ids.
#include "model/tokenizer_json.h"

#include <array>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "common/status.h"
#include "model/added_tokens.h"
#include "model/byte_level.h"
#include "model/normalizer.h"

namespace headlong {
namespace {

std::string Shown(const Json& value) {
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() <= 80 ? text : text.substr(0, 80) + "...";
}

std::string Quoted(const std::string& text) { return Shown(Json(text)); }

// The tokens of model.vocab, by the text in which the document writes them and by id.
class Vocabulary {
 public:
  absl::Status Add(const std::string& text, const Json& id) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > uint64_t{kMaxTokenId}) {
      return WrongType(absl::StrCat("model.vocab.", text),
                       absl::StrCat("an integer in [0, ", kMaxTokenId, "]"), id);
    }
    const TokenId token_id = id.get<TokenId>();
    if (!used_.insert(token_id).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("model.vocab.", text, ": id ", token_id, " is used twice"));
    }
    ids_.emplace(text, token_id);
    return absl::OkStatus();
  }

  std::optional<TokenId> Find(const std::string& text) const {
    const auto it = ids_.find(text);
    if (it == ids_.end()) return std::nullopt;
    return it->second;
  }
  bool Uses(int64_t id) const {
    return id >= 0 && id <= kMaxTokenId && used_.contains(static_cast<TokenId>(id));
  }

 private:
  absl::flat_hash_map<std::string, TokenId> ids_;
  absl::flat_hash_set<TokenId> used_;
};

absl::Status RequireAbsent(const Json& model, const std::string& key, const Json& neutral) {
  const Json& value = FieldOrNull(model, key);
  if (value.is_null() || value == neutral) return absl::OkStatus();
  return Unsupported(absl::StrCat("model.", key), value);
}

absl::Status CheckModelOptions(const Json& model, bool byte_level) {
  if (const Json& type = FieldOrNull(model, "type"); !type.is_null() && type != "BPE") {
    return Unsupported("model.type", type);
  }
  RETURN_IF_ERROR(RequireAbsent(model, "dropout", 0.0));
  RETURN_IF_ERROR(RequireAbsent(model, "continuing_subword_prefix", ""));
  RETURN_IF_ERROR(RequireAbsent(model, "end_of_word_suffix", ""));
  ASSIGN_OR_RETURN(const bool fallback, OptionalBool(model, "byte_fallback", false, "model"));
  if (fallback == byte_level) return Unsupported("model.byte_fallback", fallback);
  // Every byte has a token, so nothing is ever unknown; only the type is of interest.
  const Json& unknown = FieldOrNull(model, "unk_token");
  if (!unknown.is_null() && !unknown.is_string()) {
    return WrongType("model.unk_token", "a string or null", unknown);
  }
  return absl::OkStatus();
}

// The text with which the document writes the token of a byte.
std::string ByteTokenText(int byte, bool byte_level) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  if (byte_level) return ByteLevelFromBytes(std::string(1, static_cast<char>(byte)));
  return absl::StrCat("<0x", std::string{kHex[byte >> 4], kHex[byte & 15]}, ">");
}

absl::Status ParseVocab(const Json& model, Vocabulary* vocabulary, TokenizerSpec* spec) {
  const bool byte_level = spec->decoder.byte_level;
  const Json& vocab = FieldOrNull(model, "vocab");
  if (!vocab.is_object() || vocab.empty()) return WrongType("model.vocab", "an object", vocab);
  for (const auto& [text, id] : vocab.items()) {
    RETURN_IF_ERROR(vocabulary->Add(text, id));
    BpeSpec::Token token{id.get<TokenId>(), text, DecodedBytes(text, spec->decoder), !byte_level};
    if (std::optional<std::string> bytes = BytesFromByteLevel(text); byte_level && bytes) {
      token.text = *std::move(bytes);
      token.mergeable = true;
    }
    spec->model.vocab.push_back(std::move(token));
  }
  spec->model.from_characters = !byte_level;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text = ByteTokenText(byte, byte_level);
    const std::optional<TokenId> id = vocabulary->Find(text);
    if (!id.has_value()) {
      return absl::UnimplementedError(absl::StrCat("model.vocab: without a token for byte ", byte,
                                                   " (", Quoted(text), ") is not supported"));
    }
    spec->model.byte_ids[byte] = *id;
  }
  return absl::OkStatus();
}

// ["a", "b"], or "a b" as older files have it.
absl::StatusOr<std::pair<std::string, std::string>> MergeTexts(const Json& entry,
                                                               const std::string& field) {
  if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
    return std::pair(entry[0].get<std::string>(), entry[1].get<std::string>());
  }
  if (entry.is_string()) {
    const std::string& text = entry.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return std::pair(text.substr(0, space), text.substr(space + 1));
    }
  }
  return WrongType(field, "\"LEFT RIGHT\" or [LEFT, RIGHT]", entry);
}

absl::StatusOr<BpeMerge> ParseMerge(const Json& entry, size_t index, const Vocabulary& vocabulary) {
  const std::string field = absl::StrCat("model.merges[", index, "]");
  ASSIGN_OR_RETURN(const auto texts, MergeTexts(entry, field));
  std::array<TokenId, 3> ids{};
  const std::array<std::string, 3> parts{texts.first, texts.second, texts.first + texts.second};
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::optional<TokenId> id = vocabulary.Find(parts[i]);
    if (!id.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, ": ", Quoted(parts[i]), " is not in model.vocab"));
    }
    ids[i] = *id;
  }
  return BpeMerge{ids[0], ids[1], ids[2], static_cast<uint32_t>(index)};
}

absl::Status ParseMerges(const Json& model, const Vocabulary& vocabulary, BpeSpec* spec) {
  const Json& merges = FieldOrNull(model, "merges");
  if (!merges.is_array()) return WrongType("model.merges", "an array", merges);
  spec->merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const Json& entry = merges[i];
    if (entry.is_string() && entry.get_ref<const std::string&>().starts_with("#version")) continue;
    ASSIGN_OR_RETURN(const BpeMerge merge, ParseMerge(entry, i, vocabulary));
    spec->merges.push_back(merge);
  }
  return absl::OkStatus();
}

absl::StatusOr<AddedToken> ParseAddedToken(const Json& entry, const std::string& field) {
  if (!entry.is_object()) return WrongType(field, "an object", entry);
  AddedToken token;
  ASSIGN_OR_RETURN(const int64_t id, JsonInt(entry, "id", 0, kMaxTokenId, field));
  token.id = static_cast<TokenId>(id);
  ASSIGN_OR_RETURN(token.content, JsonString(entry, "content", field));
  if (token.content.empty() || token.content.size() > kMaxAddedTokenBytes) {
    return WrongType(absl::StrCat(field, ".content"),
                     absl::StrCat("1 to ", kMaxAddedTokenBytes, " bytes long"), entry["content"]);
  }
  ASSIGN_OR_RETURN(token.single_word, OptionalBool(entry, "single_word", false, field));
  ASSIGN_OR_RETURN(token.lstrip, OptionalBool(entry, "lstrip", false, field));
  ASSIGN_OR_RETURN(token.rstrip, OptionalBool(entry, "rstrip", false, field));
  ASSIGN_OR_RETURN(token.special, OptionalBool(entry, "special", false, field));
  ASSIGN_OR_RETURN(token.normalized, OptionalBool(entry, "normalized", !token.special, field));
  return token;
}

absl::Status ParseAddedTokens(const Json& root, const Vocabulary& vocabulary, TokenizerSpec* spec) {
  const Json& list = FieldOrNull(root, "added_tokens");
  if (list.is_null()) return absl::OkStatus();
  if (!list.is_array()) return WrongType("added_tokens", "an array", list);
  const Normalizer normalizer(spec->normalizer);
  absl::flat_hash_set<std::string> contents;
  absl::flat_hash_set<TokenId> used;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string field = absl::StrCat("added_tokens[", i, "]");
    ASSIGN_OR_RETURN(AddedToken token, ParseAddedToken(list[i], field));
    const std::optional<TokenId> in_vocab = vocabulary.Find(token.content);
    if (in_vocab.has_value() ? *in_vocab != token.id : vocabulary.Uses(token.id)) {
      return absl::InvalidArgumentError(absl::StrCat(
          field, ".id: ", token.id, " of ", Quoted(token.content), " contradicts model.vocab"));
    }
    if (!contents.insert(token.content).second || !used.insert(token.id).second) {
      return absl::InvalidArgumentError(absl::StrCat(field, ": id ", token.id, " or content ",
                                                     Quoted(token.content), " stands twice"));
    }
    if (token.normalized) {
      ASSIGN_OR_RETURN(token.content, normalizer.Normalize(token.content, /*at_start=*/true));
    }
    token.bytes = DecodedBytes(token.content, spec->decoder);
    spec->added_tokens.push_back(std::move(token));
  }
  return absl::OkStatus();
}

}  // namespace

const Json& FieldOrNull(const Json& object, const std::string& key) {
  static const Json* const kNull = new Json();
  if (!object.is_object()) return *kNull;
  const auto it = object.find(key);
  return it == object.end() ? *kNull : *it;
}

absl::StatusOr<bool> OptionalBool(const Json& object, const std::string& key, bool otherwise,
                                  std::string_view what) {
  if (FieldOrNull(object, key).is_null()) return otherwise;
  return JsonBool(object, key, what);
}

absl::Status Unsupported(std::string_view field, const Json& value) {
  return absl::UnimplementedError(absl::StrCat(Av(field), ": ", Shown(value), " is not supported"));
}

absl::Status WrongType(std::string_view field, std::string_view expected, const Json& value) {
  return absl::InvalidArgumentError(
      absl::StrCat(Av(field), ": must be ", Av(expected), ", is ", Shown(value)));
}

absl::StatusOr<TokenizerSpec> ParseTokenizerSpec(std::string_view json_text) {
  ASSIGN_OR_RETURN(const Json root, ParseJson(json_text, "tokenizer"));
  return TokenizerSpecFromJson(root);
}

absl::StatusOr<TokenizerSpec> TokenizerSpecFromJson(const Json& root) {
  if (!root.is_object()) return WrongType("the document", "an object", root);
  if (const Json& version = FieldOrNull(root, "version"); !version.is_null() && version != "1.0") {
    return Unsupported("version", version);
  }
  const Json& model = FieldOrNull(root, "model");
  if (!model.is_object()) return WrongType("model", "an object", model);
  TokenizerSpec spec;
  RETURN_IF_ERROR(ParseDecoder(root, &spec));
  RETURN_IF_ERROR(CheckModelOptions(model, spec.decoder.byte_level));
  RETURN_IF_ERROR(ParseNormalizer(root, &spec));
  RETURN_IF_ERROR(ParsePreTokenizer(root, &spec));
  Vocabulary vocabulary;
  RETURN_IF_ERROR(ParseVocab(model, &vocabulary, &spec));
  RETURN_IF_ERROR(ParseMerges(model, vocabulary, &spec.model));
  ASSIGN_OR_RETURN(spec.model.ignore_merges, OptionalBool(model, "ignore_merges", false, "model"));
  RETURN_IF_ERROR(ParseAddedTokens(root, vocabulary, &spec));
  absl::flat_hash_set<int64_t> added_ids;
  for (const AddedToken& token : spec.added_tokens) added_ids.insert(token.id);
  const auto id_exists = [&](int64_t id) { return vocabulary.Uses(id) || added_ids.contains(id); };
  RETURN_IF_ERROR(ParsePostProcessor(root, id_exists, &spec));
  return spec;
}

}  // namespace headlong
