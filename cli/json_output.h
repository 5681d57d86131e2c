// The JSON that commands print: fields in the order they are documented in. What a command reads
// is parsed by common/json.h instead.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"

namespace headlong {

using OutputJson = nlohmann::ordered_json;

// The shortest decimal that gives `value` back, not the digits of its double; null when not finite.
OutputJson FloatJson(float value);

// {"code": "not_found", "message": ...}
OutputJson ErrorJson(const absl::Status& status);

// One line, UTF-8; bytes that are not UTF-8 become U+FFFD.
std::string JsonLine(const OutputJson& json);

// Writes one document and a newline to stdout. INTERNAL when stdout cannot be written (disk full,
// reader gone).
absl::Status PrintJson(const OutputJson& json);
absl::Status PrintText(std::string_view text);

// Writes a whole file. UNAVAILABLE names `flag` and the path when it cannot be written.
absl::Status WriteText(const std::string& path, std::string_view text, const std::string& flag);

}  // namespace headlong
