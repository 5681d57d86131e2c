// The parts of a tokenizer.json, each parsed into its fields of a TokenizerSpec. Internal to
// tokenizer_json*.cc. Errors name the JSON field from the root of the document.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "common/json.h"
#include "model/tokenizer_spec.h"

namespace headlong {

absl::Status ParseNormalizer(const Json& root, TokenizerSpec* spec);
// The last step must be ByteLevel: words reach the model as bytes.
absl::Status ParsePreTokenizer(const Json& root, TokenizerSpec* spec);
absl::Status CheckDecoder(const Json& root);
absl::Status ParsePostProcessor(const Json& root, const std::function<bool(int64_t)>& id_exists,
                                TokenizerSpec* spec);

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
