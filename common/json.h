// JSON text into a tree, with errors that say what was read. No exception leaves json.cc.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace headlong {

using Json = nlohmann::json;

struct JsonLimits {
  int max_depth = 32;
  bool reject_duplicate_keys = true;
};

// Parses UTF-8 `text`. INVALID_ARGUMENT names `what` and the byte where it went wrong, or the key
// that stands twice.
absl::StatusOr<Json> ParseJson(std::string_view text, std::string_view what, JsonLimits limits = {});

// Reads and parses a whole file. NOT_FOUND / INVALID_ARGUMENT name the path.
absl::StatusOr<Json> ReadJsonFile(const std::filesystem::path& path, JsonLimits limits = {});

// Reads a whole file into memory. NOT_FOUND when absent or no regular file (links are followed).
absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path);

// Typed access to a field of an object. INVALID_ARGUMENT: "<what>: <key>: must be an integer in
// [lo, hi], is \"x\"".
absl::StatusOr<int64_t> JsonInt(const Json& object, const std::string& key, int64_t lo, int64_t hi,
                                std::string_view what);
absl::StatusOr<double> JsonNumber(const Json& object, const std::string& key,
                                  std::string_view what);
absl::StatusOr<std::string> JsonString(const Json& object, const std::string& key,
                                       std::string_view what);
absl::StatusOr<bool> JsonBool(const Json& object, const std::string& key, std::string_view what);

}  // namespace headlong
