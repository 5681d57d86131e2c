// The parts of a tokenizer.json, each parsed into its fields of a TokenizerSpec. Internal to
// tokenizer_json*.cc. Errors name the JSON field from the root of the document.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/json.h"
#include "model/tokenizer_spec.h"

namespace headlong {

// ParseTokenizerSpec of a document that is read already.
absl::StatusOr<TokenizerSpec> TokenizerSpecFromJson(const Json& root);

absl::Status ParseNormalizer(const Json& root, TokenizerSpec* spec);
// REQUIRES: the decoder is parsed. With its ByteLevel the last step must be ByteLevel: words reach
// the model as bytes; else none may be.
absl::Status ParsePreTokenizer(const Json& root, TokenizerSpec* spec);
absl::Status ParseDecoder(const Json& root, TokenizerSpec* spec);
// The bytes that `text`, a token as the document writes it, adds to a decoded text.
std::string DecodedBytes(const std::string& text, const DecoderSpec& decoder);
absl::Status ParsePostProcessor(const Json& root, const std::function<bool(int64_t)>& id_exists,
                                TokenizerSpec* spec);

// One step of a field that holds null, a step, or a Sequence of steps.
struct JsonStep {
  std::string field;  // where it stands in the document
  std::string type;
  const Json* json = nullptr;
};
// The steps of `value` in order, Sequences (whose steps stand in `list_key`) flattened.
absl::Status CollectSteps(const Json& value, const std::string& field, const std::string& list_key,
                          std::vector<JsonStep>* steps);
absl::Status UnsupportedType(const JsonStep& step);
// The literal of {"pattern": {"String": ..}}.
absl::StatusOr<std::string> LiteralPattern(const JsonStep& step);

// root[key], or null when absent.
const Json& FieldOrNull(const Json& object, const std::string& key);
// `otherwise` when the field is absent or null.
absl::StatusOr<bool> OptionalBool(const Json& object, const std::string& key, bool otherwise,
                                  std::string_view what);
// "<field>: <value> is not supported".
absl::Status Unsupported(std::string_view field, const Json& value);
// "<field>: must be <expected>, is <value>".
absl::Status WrongType(std::string_view field, std::string_view expected, const Json& value);

}  // namespace headlong
