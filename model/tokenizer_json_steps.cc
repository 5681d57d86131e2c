// normalizer, pre_tokenizer and post_processor of a tokenizer.json. Each is null, one step, or a
// Sequence of steps; the meaning of a step is that of Hugging Face's tokenizers library.
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

absl::StatusOr<SplitBehavior> ParseBehavior(const JsonStep& step) {
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

absl::StatusOr<std::string> ParsePattern(const JsonStep& step) {
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

absl::Status AddSplit(const JsonStep& step, TokenizerSpec* spec) {
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

absl::Status AddDigits(const JsonStep& step, TokenizerSpec* spec) {
  ASSIGN_OR_RETURN(const bool individual,
                   OptionalBool(*step.json, "individual_digits", false, step.field));
  PreTokenizerStep split;
  split.pattern = "\\p{N}";
  split.behavior = individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous;
  spec->pre_tokenizer.push_back(std::move(split));
  return absl::OkStatus();
}

absl::Status AddByteLevel(const JsonStep& step, TokenizerSpec* spec) {
  ASSIGN_OR_RETURN(const bool prefix_space, JsonBool(*step.json, "add_prefix_space", step.field));
  ASSIGN_OR_RETURN(const bool use_regex, OptionalBool(*step.json, "use_regex", true, step.field));
  if (prefix_space) spec->pre_tokenizer.push_back({.kind = PreTokenizerStep::Kind::kPrefixSpace});
  if (use_regex) {
    ASSIGN_OR_RETURN(std::string pattern, PcreFromOniguruma(kGpt2Pattern));
    spec->pre_tokenizer.push_back({.pattern = std::move(pattern)});
  }
  return absl::OkStatus();
}

absl::Status AddMetaspace(const JsonStep& step, TokenizerSpec* spec) {
  using Prefix = PreTokenizerStep::Prefix;
  static const auto* const kSchemes = new std::map<std::string, Prefix>{
      {"always", Prefix::kAlways}, {"first", Prefix::kFirst}, {"never", Prefix::kNever}};
  PreTokenizerStep metaspace{.kind = PreTokenizerStep::Kind::kMetaspace};
  ASSIGN_OR_RETURN(metaspace.pattern, JsonString(*step.json, "replacement", step.field));
  if (metaspace.pattern.empty()) {
    return WrongType(absl::StrCat(step.field, ".replacement"), "not empty", metaspace.pattern);
  }
  // Older files have a Boolean add_prefix_space instead.
  ASSIGN_OR_RETURN(const bool prefix,
                   OptionalBool(*step.json, "add_prefix_space", true, step.field));
  std::string scheme = prefix ? "always" : "never";
  if (!FieldOrNull(*step.json, "prepend_scheme").is_null()) {
    ASSIGN_OR_RETURN(scheme, JsonString(*step.json, "prepend_scheme", step.field));
  }
  const auto it = kSchemes->find(scheme);
  if (it == kSchemes->end()) {
    return Unsupported(absl::StrCat(step.field, ".prepend_scheme"), scheme);
  }
  metaspace.prefix = it->second;
  ASSIGN_OR_RETURN(const bool split, OptionalBool(*step.json, "split", true, step.field));
  PreTokenizerStep cut{.pattern = PcreFromLiteral(metaspace.pattern),
                       .behavior = SplitBehavior::kMergedWithNext};
  spec->pre_tokenizer.push_back(std::move(metaspace));
  if (split) spec->pre_tokenizer.push_back(std::move(cut));
  return absl::OkStatus();
}

// The ids that a template's {"SpecialToken": {"id": NAME}} stands for.
absl::StatusOr<std::vector<TokenId>> TemplateIds(const Json& item, const JsonStep& step,
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

absl::Status ParseTemplate(const JsonStep& step, const std::function<bool(int64_t)>& id_exists,
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
  using Kind = NormalizerStep::Kind;
  static const auto* const kForms = new std::map<std::string, Kind>{
      {"NFC", Kind::kNfc}, {"NFD", Kind::kNfd}, {"NFKC", Kind::kNfkc}, {"NFKD", Kind::kNfkd}};
  std::vector<JsonStep> steps;
  RETURN_IF_ERROR(
      CollectSteps(FieldOrNull(root, "normalizer"), "normalizer", "normalizers", &steps));
  for (const JsonStep& step : steps) {
    NormalizerStep normalizer;
    if (const auto form = kForms->find(step.type); form != kForms->end()) {
      normalizer.kind = form->second;
    } else if (step.type == "Prepend") {
      normalizer.kind = Kind::kPrepend;
      ASSIGN_OR_RETURN(normalizer.text, JsonString(*step.json, "prepend", step.field));
    } else if (step.type == "Replace") {
      normalizer.kind = Kind::kReplace;
      ASSIGN_OR_RETURN(normalizer.pattern, LiteralPattern(step));
      ASSIGN_OR_RETURN(normalizer.text, JsonString(*step.json, "content", step.field));
    } else {
      return UnsupportedType(step);
    }
    spec->normalizer.push_back(std::move(normalizer));
  }
  return absl::OkStatus();
}

absl::Status ParsePreTokenizer(const Json& root, TokenizerSpec* spec) {
  std::vector<JsonStep> steps;
  RETURN_IF_ERROR(
      CollectSteps(FieldOrNull(root, "pre_tokenizer"), "pre_tokenizer", "pretokenizers", &steps));
  for (size_t i = 0; i < steps.size(); ++i) {
    const JsonStep& step = steps[i];
    if (step.type == "Split") {
      RETURN_IF_ERROR(AddSplit(step, spec));
    } else if (step.type == "Digits") {
      RETURN_IF_ERROR(AddDigits(step, spec));
    } else if (step.type == "Metaspace") {
      RETURN_IF_ERROR(AddMetaspace(step, spec));
    } else if (step.type == "ByteLevel" && spec->decoder.byte_level) {
      if (i + 1 < steps.size()) return Unsupported(step.field, "a step after ByteLevel");
      return AddByteLevel(step, spec);
    } else {
      return UnsupportedType(step);
    }
  }
  if (spec->decoder.byte_level) return Unsupported("pre_tokenizer", "no ByteLevel step");
  return absl::OkStatus();
}

absl::Status ParsePostProcessor(const Json& root, const std::function<bool(int64_t)>& id_exists,
                                TokenizerSpec* spec) {
  std::vector<JsonStep> steps;
  RETURN_IF_ERROR(
      CollectSteps(FieldOrNull(root, "post_processor"), "post_processor", "processors", &steps));
  for (const JsonStep& step : steps) {
    if (step.type == "ByteLevel") continue;  // concerns offsets only
    if (step.type != "TemplateProcessing") return UnsupportedType(step);
    RETURN_IF_ERROR(ParseTemplate(step, id_exists, spec));
  }
  return absl::OkStatus();
}

}  // namespace headlong
