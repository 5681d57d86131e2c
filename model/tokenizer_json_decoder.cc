// The decoder of a tokenizer.json, and what all fields made of steps have in common.
#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <utility>

#include "common/status.h"
#include "model/byte_level.h"
#include "model/normalizer.h"
#include "model/tokenizer_json.h"

namespace headlong {
namespace {

constexpr int kMaxStrippedSpaces = 16;

// "<0xE2>": the byte; nullopt for any other text.
std::optional<char> ByteOf(const std::string& text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  const std::string hex = text.substr(3, 2);
  if (!std::isxdigit(static_cast<unsigned char>(hex[0])) ||
      !std::isxdigit(static_cast<unsigned char>(hex[1]))) {
    return std::nullopt;
  }
  return static_cast<char>(std::stoi(hex, nullptr, 16));
}

absl::Status ParseStrip(const JsonStep& step, DecoderSpec* decoder) {
  const Json& content = FieldOrNull(*step.json, "content");
  if (content != " ") return Unsupported(absl::StrCat(step.field, ".content"), content);
  ASSIGN_OR_RETURN(const int64_t stop, JsonInt(*step.json, "stop", 0, INT32_MAX, step.field));
  if (stop != 0) return Unsupported(absl::StrCat(step.field, ".stop"), stop);
  ASSIGN_OR_RETURN(const int64_t start,
                   JsonInt(*step.json, "start", 0, kMaxStrippedSpaces, step.field));
  decoder->rules.strip_spaces = static_cast<int>(start);
  return absl::OkStatus();
}

// Replace.., ByteFallback, Fuse, Strip: what SentencePiece tokenizers have, in this order only, for
// then the text of a stream of tokens is known token by token.
absl::Status ParseFallbackSteps(const std::vector<JsonStep>& steps, DecoderSpec* decoder) {
  static constexpr std::array<std::string_view, 4> kOrder = {"Replace", "ByteFallback", "Fuse",
                                                             "Strip"};
  size_t last = 0;
  size_t seen = 0;
  for (const JsonStep& step : steps) {
    const size_t place = std::find(kOrder.begin(), kOrder.end(), step.type) - kOrder.begin();
    if (place == kOrder.size()) return UnsupportedType(step);
    if (place < last || (place == last && place != 0)) {
      return Unsupported(step.field, absl::StrCat(step.type, " behind ", Av(kOrder[last])));
    }
    last = place;
    seen |= size_t{1} << place;
    if (place == 0) {
      std::pair<std::string, std::string> replace;
      ASSIGN_OR_RETURN(replace.first, LiteralPattern(step));
      ASSIGN_OR_RETURN(replace.second, JsonString(*step.json, "content", step.field));
      decoder->replaces.push_back(std::move(replace));
    } else if (place == 3) {
      if ((seen & 4) == 0) return Unsupported(step.field, "Strip without Fuse");
      RETURN_IF_ERROR(ParseStrip(step, decoder));
    }
  }
  if ((seen & 2) == 0) return Unsupported("decoder", "neither ByteLevel nor ByteFallback");
  decoder->rules.mark_each_byte = true;
  return absl::OkStatus();
}

}  // namespace

absl::Status CollectSteps(const Json& value, const std::string& field, const std::string& list_key,
                          std::vector<JsonStep>* steps) {
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

absl::Status UnsupportedType(const JsonStep& step) {
  return Unsupported(absl::StrCat(step.field, ".type"), step.type);
}

absl::StatusOr<std::string> LiteralPattern(const JsonStep& step) {
  const std::string field = absl::StrCat(step.field, ".pattern");
  const Json& pattern = FieldOrNull(*step.json, "pattern");
  if (pattern.is_object() && pattern.contains("Regex")) {
    return Unsupported(absl::StrCat(field, ".Regex"), pattern["Regex"]);
  }
  ASSIGN_OR_RETURN(std::string literal, JsonString(pattern, "String", field));
  if (literal.empty()) return WrongType(absl::StrCat(field, ".String"), "not empty", literal);
  return literal;
}

absl::Status ParseDecoder(const Json& root, TokenizerSpec* spec) {
  const Json& decoder = FieldOrNull(root, "decoder");
  std::vector<JsonStep> steps;
  RETURN_IF_ERROR(CollectSteps(decoder, "decoder", "decoders", &steps));
  if (steps.empty()) return Unsupported("decoder", decoder);
  if (steps[0].type != "ByteLevel") return ParseFallbackSteps(steps, &spec->decoder);
  if (steps.size() != 1) return Unsupported(steps[1].field, "a step after ByteLevel");
  spec->decoder.byte_level = true;
  return absl::OkStatus();
}

std::string DecodedBytes(const std::string& text, const DecoderSpec& decoder) {
  if (decoder.byte_level) return BytesFromByteLevel(text).value_or(text);
  std::string decoded = text;
  for (const auto& [pattern, by] : decoder.replaces) decoded = ReplaceAll(decoded, pattern, by);
  if (const std::optional<char> byte = ByteOf(decoded)) return std::string(1, *byte);
  return decoded;
}

}  // namespace headlong
