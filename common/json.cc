#include "common/json.h"

#include <fstream>
#include <set>
#include <sstream>
#include <system_error>
#include <vector>

#include "common/status.h"

namespace headlong {
namespace {

// A SAX pass that only checks what the tree builder would silently accept.
class ShapeCheck final : public nlohmann::json_sax<Json> {
 public:
  explicit ShapeCheck(JsonLimits limits) : limits_(limits) {}
  const std::string& error() const { return error_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override {
    keys_.emplace_back();
    return Enter();
  }
  bool end_object() override {
    keys_.pop_back();
    --depth_;
    return true;
  }
  bool start_array(std::size_t) override { return Enter(); }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(string_t& name) override {
    if (!limits_.reject_duplicate_keys || keys_.back().insert(name).second) return true;
    error_ = absl::StrCat("key \"", name, "\" stands twice");
    return false;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    error_ = absl::StrCat("not valid JSON at byte ", position);
    return false;
  }

 private:
  bool Enter() {
    if (++depth_ <= limits_.max_depth) return true;
    error_ = absl::StrCat("nested deeper than ", limits_.max_depth);
    return false;
  }

  const JsonLimits limits_;
  std::string error_;
  int depth_ = 0;
  std::vector<std::set<std::string>> keys_;
};

absl::Status FieldError(const Json& object, const std::string& key, std::string_view what,
                        const std::string& expected) {
  const auto it = object.find(key);
  const std::string found = it == object.end() ? "is missing" : "is " + it->dump().substr(0, 60);
  return absl::InvalidArgumentError(
      absl::StrCat(Av(what), ": ", key, ": must be ", expected, ", ", found));
}

}  // namespace

absl::StatusOr<Json> ParseJson(std::string_view text, std::string_view what, JsonLimits limits) {
  ShapeCheck check(limits);
  if (!Json::sax_parse(text.begin(), text.end(), &check)) {
    return absl::InvalidArgumentError(absl::StrCat(Av(what), ": ", check.error()));
  }
  return Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
}

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    return absl::NotFoundError(absl::StrCat(path.string(), ": no such file"));
  }
  std::ifstream in(path, std::ios::binary);
  std::ostringstream content;
  content << in.rdbuf();
  if (!in) return absl::UnavailableError(absl::StrCat(path.string(), ": cannot be read"));
  return std::move(content).str();
}

absl::StatusOr<Json> ReadJsonFile(const std::filesystem::path& path, JsonLimits limits) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseJson(text, path.string(), limits);
}

absl::StatusOr<int64_t> JsonInt(const Json& object, const std::string& key, int64_t lo, int64_t hi,
                                std::string_view what) {
  const auto it = object.find(key);
  const std::string expected = absl::StrCat("an integer in [", lo, ", ", hi, "]");
  if (it == object.end() || !it->is_number_integer()) return FieldError(object, key, what, expected);
  const bool beyond = it->is_number_unsigned() && it->get<uint64_t>() > uint64_t{INT64_MAX};
  if (beyond || it->get<int64_t>() < lo || it->get<int64_t>() > hi) {
    return FieldError(object, key, what, expected);
  }
  return it->get<int64_t>();
}

absl::StatusOr<double> JsonNumber(const Json& object, const std::string& key,
                                  std::string_view what) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_number()) return FieldError(object, key, what, "a number");
  return it->get<double>();
}

absl::StatusOr<std::string> JsonString(const Json& object, const std::string& key,
                                       std::string_view what) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_string()) return FieldError(object, key, what, "a string");
  return it->get<std::string>();
}

absl::StatusOr<bool> JsonBool(const Json& object, const std::string& key, std::string_view what) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_boolean()) return FieldError(object, key, what, "true or false");
  return it->get<bool>();
}

}  // namespace headlong
