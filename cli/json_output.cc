#include "cli/json_output.h"

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "cli/exit_code.h"
#include "common/status.h"

namespace headlong {

OutputJson FloatJson(float value) {
  if (!std::isfinite(value)) return nullptr;
  char digits[48];
  const auto [end, error] = std::to_chars(digits, digits + sizeof(digits) - 1, value);
  if (error != std::errc()) return value;
  *end = '\0';
  return std::strtod(digits, nullptr);
}

OutputJson ErrorJson(const absl::Status& status) {
  OutputJson json;
  json["code"] = CodeName(status.code());
  json["message"] = std::string(status.message());
  return json;
}

std::string JsonLine(const OutputJson& json) {
  return json.dump(-1, ' ', false, OutputJson::error_handler_t::replace) + "\n";
}

absl::Status PrintText(std::string_view text) {
  const size_t written = std::fwrite(text.data(), 1, text.size(), stdout);
  if (written == text.size() && std::fflush(stdout) == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("cannot write to stdout: ", std::strerror(errno)));
}

absl::Status PrintJson(const OutputJson& json) { return PrintText(JsonLine(json)); }

absl::Status WriteText(const std::string& path, std::string_view text, const std::string& flag) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (file) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(flag, " ", path, ": not writable"));
}

}  // namespace headlong
