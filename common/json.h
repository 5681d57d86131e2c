// JSON text into a tree, with errors that say what was read. Limits are checked before the tree is
// built. No exception leaves json.cc. Stateless; callable from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace headlong {

using Json = nlohmann::json;

struct JsonLimits {
  int max_depth = 32;
  bool reject_duplicate_keys = true;
  int64_t max_values = int64_t{1} << 24;  // of the whole document, containers included
};

inline constexpr int64_t kMaxFileBytes = int64_t{256} << 20;

// Parses UTF-8 `text`; a byte order mark in front is skipped. INVALID_ARGUMENT names `what` and the
// byte where it went wrong, the key that stands twice, or the number beyond a double's range.
absl::StatusOr<Json> ParseJson(std::string_view text, std::string_view what,
                               JsonLimits limits = {});

// Reads and parses a whole file. Errors as of ReadFile and ParseJson; they name the path.
absl::StatusOr<Json> ReadJsonFile(const std::filesystem::path& path, JsonLimits limits = {});

// Reads a whole file into memory. NOT_FOUND when absent; INVALID_ARGUMENT when it is no regular
// file (links are followed) or larger than `max_bytes`; UNAVAILABLE when it cannot be read.
absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path,
                                     int64_t max_bytes = kMaxFileBytes);

// `value` for an error message: a scalar as JSON text, cut to 60 bytes at a character; a container
// by its kind and size. Always valid UTF-8, whatever the value holds.
std::string JsonExcerpt(const Json& value);

// `value` where it is an integer in [lo, hi].
std::optional<int64_t> JsonAsInt(const Json& value, int64_t lo, int64_t hi);

// INVALID_ARGUMENT unless `value` is an object without other fields than `known`; names the field.
absl::Status JsonOnlyFields(const Json& value, std::initializer_list<std::string_view> known,
                            std::string_view what);

// Typed access to a field of an object. INVALID_ARGUMENT: "<what>: <key>: must be an integer in
// [lo, hi], is \"x\"". A value that is no object has no fields.
absl::StatusOr<int64_t> JsonInt(const Json& object, const std::string& key, int64_t lo, int64_t hi,
                                std::string_view what);
absl::StatusOr<double> JsonNumber(const Json& object, const std::string& key,
                                  std::string_view what);
absl::StatusOr<std::string> JsonString(const Json& object, const std::string& key,
                                       std::string_view what);
absl::StatusOr<bool> JsonBool(const Json& object, const std::string& key, std::string_view what);

}  // namespace headlong
