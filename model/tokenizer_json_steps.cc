// normalizer, pre_tokenizer, post_processor and decoder of a tokenizer.json. Each is null, one
// step, or a Sequence of steps; the meaning of a step is that of Hugging Face's tokenizers library.
#include <map>
#include <optional>

#include "common/status.h"
#include "model/regex.h"
#include "model/tokenizer_json.h"

namespace headlong {
namespace {

// The split that ByteLevel does with use_regex; from openai/gpt-2, src/encoder.py.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

struct Step {
  std::string field;  // where it stands in the document
  std::string type;
  const Json* json = nullptr;
};

// The steps of `value` in order, Sequences (whose steps stand in `list_key`) flattened.
absl::Status CollectSteps(const Json& value, const std::string& field, const std::string& list_key,
                          std::vector<Step>* steps) {
  if (value.is_null()) return absl::OkStatus();
  if (!value.is_object()) return WrongType(field, "an object or null", value);
  ASSIGN_OR_RETURN(std::string type, JsonString(value, "type", field));
  if (type != "Sequence") {
    steps->push_back({field, std::move(type), &value});
    return absl::OkStatus();
  }
  const std::string list_field = absl::StrCat(field, ".", list_key);
  const Json& list = FieldOrNull(value, list_key);
  if (!list.is_array()) return WrongType(list_field, "an array", list);
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i].is_null()) {
      return WrongType(absl::StrCat(list_field, "[", i, "]"), "an object", list[i]);
    }
    RETURN_IF_ERROR(CollectSteps(list[i], absl::StrCat(list_field, "[", i, "]"), list_key, steps));
  }
  return absl::OkStatus();
}

absl::Status UnsupportedType(const Step& step) {
  return Unsupported(absl::StrCat(step.field, ".type"), step.type);
}

absl::StatusOr<SplitBehavior> ParseBehavior(const Step& step) {
  static const auto* const kBehaviors = new std::map<std::string, SplitBehavior>{
      {"Isolated", SplitBehavior::kIsolated},
      {"Removed", SplitBehavior::kRemoved},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous}};
  ASSIGN_OR_RETURN(const std::string name, JsonString(*step.json, "behavior", step.field));
  const auto it = kBehaviors->find(name);
  if (it == kBehaviors->end()) return Unsupported(absl::StrCat(step.field, ".behavior"), name);
  return it->second;
}

absl::StatusOr<std::string> ParsePattern(const Step& step) {
  const std::string field = absl::StrCat(step.field, ".pattern");
  const Json& pattern = FieldOrNull(*step.json, "pattern");
  if (!pattern.is_object() || pattern.size() != 1) {
    return WrongType(field, "{\"Regex\": ..} or {\"String\": ..}", pattern);
  }
  if (pattern.contains("String")) {
    ASSIGN_OR_RETURN(const std::string literal, JsonString(pattern, "String", field));
    if (literal.empty()) return WrongType(absl::StrCat(field, ".String"), "not empty", literal);
    return PcreFromLiteral(literal);
  }
  ASSIGN_OR_RETURN(const std::string regex, JsonString(pattern, "Regex", field));
  auto translated = PcreFromOniguruma(regex);
  if (!translated.ok()) return Annotate(translated.status(), absl::StrCat(field, ".Regex"));
  return translated;
}

absl::Status AddSplit(const Step& step, TokenizerSpec* spec) {
  PreTokenizerStep split;
  ASSIGN_OR_RETURN(split.pattern, ParsePattern(step));
  ASSIGN_OR_RETURN(split.behavior, ParseBehavior(step));
  ASSIGN_OR_RETURN(split.invert, OptionalBool(*step.json, "invert", false, step.field));
  if (auto regex = Regex::Compile(split.pattern); !regex.ok()) {
    return Annotate(regex.status(), absl::StrCat(step.field, ".pattern"));
  }
  spec->pre_tokenizer.push_back(std::move(split));
  return absl::OkStatus();
}

absl::Status AddDigits(const Step& step, TokenizerSpec* spec) {
  ASSIGN_OR_RETURN(const bool individual,
                   OptionalBool(*step.json, "individual_digits", false, step.field));
  PreTokenizerStep split;
  split.pattern = "\\p{N}";
  split.behavior = individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous;
  spec->pre_tokenizer.push_back(std::move(split));
  return absl::OkStatus();
}

absl::Status AddByteLevel(const Step& step, TokenizerSpec* spec) {
  ASSIGN_OR_RETURN(const bool prefix_space, JsonBool(*step.json, "add_prefix_space", step.field));
  ASSIGN_OR_RETURN(const bool use_regex, OptionalBool(*step.json, "use_regex", true, step.field));
  if (prefix_space) spec->pre_tokenizer.push_back({PreTokenizerStep::Kind::kPrefixSpace, "", {}});
  if (use_regex) {
    ASSIGN_OR_RETURN(std::string pattern, PcreFromOniguruma(kGpt2Pattern));
    spec->pre_tokenizer.push_back({PreTokenizerStep::Kind::kSplit, std::move(pattern), {}});
  }
  return absl::OkStatus();
}

// The ids that a template's {"SpecialToken": {"id": NAME}} stands for.
absl::StatusOr<std::vector<TokenId>> TemplateIds(const Json& item, const Step& step,
                                                 const std::string& field,
                                                 const std::function<bool(int64_t)>& id_exists) {
  ASSIGN_OR_RETURN(const std::string name,
                   JsonString(FieldOrNull(item, "SpecialToken"), "id", field));
  const std::string ids_field = absl::StrCat(step.field, ".special_tokens.", name, ".ids");
  const Json& ids =
      FieldOrNull(FieldOrNull(FieldOrNull(*step.json, "special_tokens"), name), "ids");
  if (!ids.is_array()) return WrongType(ids_field, "an array of token ids", ids);
  std::vector<TokenId> result;
  for (const Json& id : ids) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > uint64_t{kMaxTokenId} ||
        !id_exists(id.get<int64_t>())) {
      return WrongType(ids_field, "ids of the vocabulary", ids);
    }
    result.push_back(id.get<TokenId>());
  }
  return result;
}

absl::Status ParseTemplate(const Step& step, const std::function<bool(int64_t)>& id_exists,
                           TokenizerSpec* spec) {
  const std::string field = absl::StrCat(step.field, ".single");
  const Json& single = FieldOrNull(*step.json, "single");
  if (!single.is_array()) return WrongType(field, "an array", single);
  std::vector<TokenId> before;
  std::vector<TokenId> after;
  bool text_seen = false;
  for (size_t i = 0; i < single.size(); ++i) {
    const std::string item_field = absl::StrCat(field, "[", i, "]");
    const Json& item = single[i];
    if (FieldOrNull(item, "SpecialToken").is_object()) {
      ASSIGN_OR_RETURN(const auto ids, TemplateIds(item, step, item_field, id_exists));
      std::vector<TokenId>* const side = text_seen ? &after : &before;
      side->insert(side->end(), ids.begin(), ids.end());
    } else if (FieldOrNull(FieldOrNull(item, "Sequence"), "id") == "A" && !text_seen) {
      text_seen = true;
    } else {
      return Unsupported(item_field, item);
    }
  }
  if (!text_seen) return WrongType(field, "a template with Sequence A", single);
  // Of several templates the later ones stand outside.
  spec->template_prefix.insert(spec->template_prefix.begin(), before.begin(), before.end());
  spec->template_suffix.insert(spec->template_suffix.end(), after.begin(), after.end());
  return absl::OkStatus();
}

}  // namespace

absl::Status ParseNormalizer(const Json& root, TokenizerSpec* spec) {
  std::vector<Step> steps;
  RETURN_IF_ERROR(
      CollectSteps(FieldOrNull(root, "normalizer"), "normalizer", "normalizers", &steps));
  for (const Step& step : steps) {
    if (step.type != "NFC") return UnsupportedType(step);
    spec->normalizer.push_back(NormalizerStep::kNfc);
  }
  return absl::OkStatus();
}

absl::Status ParsePreTokenizer(const Json& root, TokenizerSpec* spec) {
  std::vector<Step> steps;
  RETURN_IF_ERROR(
      CollectSteps(FieldOrNull(root, "pre_tokenizer"), "pre_tokenizer", "pretokenizers", &steps));
  for (size_t i = 0; i < steps.size(); ++i) {
    const Step& step = steps[i];
    if (step.type == "Split") {
      RETURN_IF_ERROR(AddSplit(step, spec));
    } else if (step.type == "Digits") {
      RETURN_IF_ERROR(AddDigits(step, spec));
    } else if (step.type == "ByteLevel") {
      if (i + 1 < steps.size()) return Unsupported(step.field, "a step after ByteLevel");
      return AddByteLevel(step, spec);
    } else {
      return UnsupportedType(step);
    }
  }
  return Unsupported("pre_tokenizer", "no ByteLevel step");
}

absl::Status CheckDecoder(const Json& root) {
  std::vector<Step> steps;
  RETURN_IF_ERROR(CollectSteps(FieldOrNull(root, "decoder"), "decoder", "decoders", &steps));
  for (const Step& step : steps) {
    if (step.type != "ByteLevel") return UnsupportedType(step);
  }
  if (steps.size() != 1) return Unsupported("decoder", FieldOrNull(root, "decoder"));
  return absl::OkStatus();
}

absl::Status ParsePostProcessor(const Json& root, const std::function<bool(int64_t)>& id_exists,
                                TokenizerSpec* spec) {
  std::vector<Step> steps;
  RETURN_IF_ERROR(
      CollectSteps(FieldOrNull(root, "post_processor"), "post_processor", "processors", &steps));
  for (const Step& step : steps) {
    if (step.type == "ByteLevel") continue;  // concerns offsets only
    if (step.type != "TemplateProcessing") return UnsupportedType(step);
    RETURN_IF_ERROR(ParseTemplate(step, id_exists, spec));
  }
  return absl::OkStatus();
}

}  // namespace headlong
