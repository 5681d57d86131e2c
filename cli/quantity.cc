#include "cli/quantity.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/json.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr double kMaxBytes = 1152921504606846976.0;  // 2^60

// Bytes of one unit; 0 when there is no such unit.
double UnitBytes(std::string_view unit) {
  const std::string name = absl::AsciiStrToUpper(Av(unit));
  if (name.empty() || name == "B") return 1;
  const size_t power = std::string("KMGT").find(name[0]);
  if (power == std::string::npos) return 0;
  const double exponent = static_cast<double>(power + 1);
  if (name.size() == 1 || name.substr(1) == "IB") return std::pow(1024.0, exponent);
  if (name.substr(1) == "B") return std::pow(1000.0, exponent);
  return 0;
}

template <typename T, typename ParseOne>
absl::StatusOr<std::vector<T>> ParseList(std::string_view text, ParseOne parse_one) {
  std::vector<T> values;
  for (const absl::string_view part : absl::StrSplit(Av(text), ',')) {
    absl::StatusOr<T> value = parse_one(std::string_view(part.data(), part.size()));
    if (!value.ok()) return value.status();
    values.push_back(*value);
  }
  return values;
}

absl::StatusOr<uint32_t> ParseTokenId(std::string_view word, size_t index, std::string_view what) {
  uint32_t id = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
  if (error == std::errc() && end == word.data() + word.size()) return id;
  return absl::InvalidArgumentError(absl::StrCat(Av(what), ": value ", index + 1, " (",
                                                 Av(word.substr(0, 40)),
                                                 ") is not a token id (0 to 4294967295)"));
}

}  // namespace

absl::StatusOr<int64_t> ParseBytes(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("\"", Av(text), "\" ", Av(why),
                                                   "; sizes look like 2GiB, 512MiB or 1073741824"));
  };
  const absl::string_view trimmed = absl::StripAsciiWhitespace(Av(text));
  const size_t digits = std::min(trimmed.find_first_not_of("0123456789."), trimmed.size());
  double amount = 0;
  if (digits == 0 || !absl::SimpleAtod(trimmed.substr(0, digits), &amount)) {
    return refuse("is not a size");
  }
  const absl::string_view unit = absl::StripAsciiWhitespace(trimmed.substr(digits));
  const double unit_bytes = UnitBytes({unit.data(), unit.size()});
  if (unit_bytes == 0) return refuse("has an unknown unit");
  const double bytes = amount * unit_bytes;
  if (!(bytes >= 1) || bytes > kMaxBytes) return refuse("is out of range");
  return static_cast<int64_t>(bytes);
}

absl::StatusOr<std::vector<int64_t>> ParseByteList(std::string_view text) {
  return ParseList<int64_t>(text, ParseBytes);
}

absl::StatusOr<std::vector<int64_t>> ParseIntegerList(std::string_view text, int64_t lo,
                                                      int64_t hi) {
  return ParseList<int64_t>(text, [&](std::string_view part) -> absl::StatusOr<int64_t> {
    int64_t value = 0;
    if (absl::SimpleAtoi(Av(part), &value) && value >= lo && value <= hi) return value;
    return absl::InvalidArgumentError(
        absl::StrCat("\"", Av(part), "\" is not an integer in [", lo, ", ", hi, "]"));
  });
}

absl::StatusOr<std::vector<double>> ParseFractionList(std::string_view text) {
  return ParseList<double>(text, [](std::string_view part) -> absl::StatusOr<double> {
    double value = 0;
    if (absl::SimpleAtod(Av(part), &value) && value >= 0 && value <= 1) return value;
    return absl::InvalidArgumentError(
        absl::StrCat("\"", Av(part), "\" is not a fraction in [0, 1]"));
  });
}

absl::StatusOr<std::vector<uint32_t>> ParseTokenIds(std::string_view text, std::string_view what) {
  std::vector<uint32_t> ids;
  const absl::string_view trimmed = absl::StripAsciiWhitespace(Av(text));
  if (trimmed.empty() || trimmed[0] != '[') {
    for (const absl::string_view word :
         absl::StrSplit(trimmed, absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty())) {
      ASSIGN_OR_RETURN(const uint32_t id,
                       ParseTokenId({word.data(), word.size()}, ids.size(), what));
      ids.push_back(id);
    }
    return ids;
  }
  ASSIGN_OR_RETURN(const Json array, ParseJson({trimmed.data(), trimmed.size()}, what));
  ids.reserve(array.size());
  for (const Json& value : array) {
    ASSIGN_OR_RETURN(const uint32_t id, ParseTokenId(value.dump(), ids.size(), what));
    ids.push_back(id);
  }
  return ids;
}

std::string FormatBytes(int64_t bytes) {
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  double amount = static_cast<double>(bytes) / 1024;
  int unit = 0;
  while (amount >= 1023.995 && unit < 4) {  // what would be printed as 1024 is 1 of the next unit
    amount /= 1024;
    ++unit;
  }
  const int decimals = amount >= 99.95 ? 0 : amount >= 9.995 ? 1 : 2;
  return absl::StrFormat("%.*f %s", decimals, amount, kUnits[unit]);
}

std::string FormatCount(int64_t count) {
  const std::string digits = absl::StrCat(count);
  const size_t first = count < 0 ? 1 : 0;
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > first && (digits.size() - i) % 3 == 0) text.push_back(',');
    text.push_back(digits[i]);
  }
  return text;
}

std::string FormatMillis(double millis) {
  if (millis < 9.95) return absl::StrFormat("%.1f ms", millis);
  if (millis < 999.5) return absl::StrFormat("%.0f ms", millis);
  const double seconds = millis / 1000;
  if (seconds < 99.95) return absl::StrFormat("%.1f s", seconds);
  const int64_t whole = std::llround(seconds);
  return absl::StrFormat("%d min %02d s", whole / 60, whole % 60);
}

std::string FormatPercent(double fraction) { return absl::StrFormat("%.1f %%", fraction * 100); }

}  // namespace headlong
