#include "common/json.h"

#include <algorithm>
#include <fstream>
#include <set>
#include <system_error>
#include <vector>

#include "common/status.h"

namespace headlong {
namespace {

constexpr std::size_t kExcerptBytes = 60;

// A SAX pass that only checks what the tree builder would silently accept.
class ShapeCheck final : public nlohmann::json_sax<Json> {
 public:
  explicit ShapeCheck(JsonLimits limits) : limits_(limits) {}
  const std::string& error() const { return error_; }

  bool null() override { return Count(); }
  bool boolean(bool) override { return Count(); }
  bool number_integer(number_integer_t) override { return Count(); }
  bool number_unsigned(number_unsigned_t) override { return Count(); }
  bool number_float(number_float_t, const string_t&) override { return Count(); }
  bool string(string_t&) override { return Count(); }
  bool binary(binary_t&) override { return Count(); }
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
    error_ = absl::StrCat("key ", JsonExcerpt(name), " stands twice");
    return false;
  }
  bool parse_error(std::size_t position, const std::string& token,
                   const nlohmann::detail::exception& error) override {
    constexpr int kNumberOutOfRange = 406;  // nlohmann's number for it
    error_ = error.id == kNumberOutOfRange
                 ? absl::StrCat("number ", token.substr(0, kExcerptBytes), " is out of range")
                 : absl::StrCat("not valid JSON at byte ", position);
    return false;
  }

 private:
  bool Count() {
    if (++values_ <= limits_.max_values) return true;
    error_ = absl::StrCat("more than ", limits_.max_values, " values");
    return false;
  }
  bool Enter() {
    if (!Count()) return false;
    if (++depth_ <= limits_.max_depth) return true;
    error_ = absl::StrCat("nested deeper than ", limits_.max_depth);
    return false;
  }

  const JsonLimits limits_;
  std::string error_;
  int depth_ = 0;
  int64_t values_ = 0;
  std::vector<std::set<std::string>> keys_;
};

absl::Status FieldError(const Json& object, const std::string& key, std::string_view what,
                        const std::string& expected) {
  const auto it = object.find(key);
  const std::string found =
      it == object.end() ? "is missing" : absl::StrCat("is ", JsonExcerpt(*it));
  return absl::InvalidArgumentError(
      absl::StrCat(Av(what), ": ", key, ": must be ", expected, ", ", found));
}

}  // namespace

std::string JsonExcerpt(const Json& value) {
  if (value.is_object()) return absl::StrCat("an object of ", value.size(), " fields");
  if (value.is_array()) return absl::StrCat("a list of ", value.size());
  // A tree that was not parsed may hold any bytes, and dump() throws at bad UTF-8 unless told.
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
  if (text.size() <= kExcerptBytes) return text;
  std::size_t end = kExcerptBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

absl::StatusOr<Json> ParseJson(std::string_view text, std::string_view what, JsonLimits limits) {
  // The parser takes a NUL byte for the end of the text, whatever follows it.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(Av(what), ": not valid JSON at byte ", nul + 1));
  }
  ShapeCheck check(limits);
  if (!Json::sax_parse(text.begin(), text.end(), &check)) {
    return absl::InvalidArgumentError(absl::StrCat(Av(what), ": ", check.error()));
  }
  return Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
}

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path, int64_t max_bytes) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    return absl::NotFoundError(absl::StrCat(path.string(), ": no such file"));
  }
  if (error) {
    return absl::UnavailableError(absl::StrCat(path.string(), ": ", error.message()));
  }
  if (!std::filesystem::is_regular_file(status)) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": is not a regular file"));
  }
  std::ifstream in(path, std::ios::binary);
  std::string content;
  // In pieces, because a file may grow or claim no size (/proc): the limit holds in any case.
  for (std::string piece(std::size_t{1} << 20, '\0'); in;) {
    in.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    content.append(piece, 0, static_cast<std::size_t>(in.gcount()));
    if (static_cast<int64_t>(content.size()) > max_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(path.string(), ": larger than ", max_bytes, " bytes"));
    }
  }
  if (!in.eof()) return absl::UnavailableError(absl::StrCat(path.string(), ": cannot be read"));
  return content;
}

absl::StatusOr<Json> ReadJsonFile(const std::filesystem::path& path, JsonLimits limits) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseJson(text, path.string(), limits);
}

std::optional<int64_t> JsonAsInt(const Json& value, int64_t lo, int64_t hi) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX}) {
    return std::nullopt;
  }
  const auto number = value.get<int64_t>();
  if (number < lo || number > hi) return std::nullopt;
  return number;
}

absl::Status JsonOnlyFields(const Json& value, std::initializer_list<std::string_view> known,
                            std::string_view what) {
  if (!value.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(Av(what), ": must be an object, is ", JsonExcerpt(value)));
  }
  for (const auto& [key, field] : value.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(Av(what), ": unknown field ", JsonExcerpt(Json(key))));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> JsonInt(const Json& object, const std::string& key, int64_t lo, int64_t hi,
                                std::string_view what) {
  const auto it = object.find(key);
  if (it != object.end()) {
    if (const std::optional<int64_t> number = JsonAsInt(*it, lo, hi)) return *number;
  }
  return FieldError(object, key, what, absl::StrCat("an integer in [", lo, ", ", hi, "]"));
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
  if (it == object.end() || !it->is_boolean())
    return FieldError(object, key, what, "true or false");
  return it->get<bool>();
}

}  // namespace headlong
