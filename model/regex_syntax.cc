// Oniguruma's pattern syntax into PCRE2's: a scan that copies what both read alike, rewrites what
// has another spelling and refuses the rest.
#include <algorithm>
#include <cctype>
#include <iterator>
#include <utility>

#include "common/status.h"
#include "model/regex.h"

namespace headlong {
namespace {

// \w of Oniguruma: Unicode TR18 annex C and, from its Latin-1 table, superscript digits and
// fractions. PCRE2's own \w (10.42) is narrower.
constexpr std::string_view kWordCharacters =
    "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}";

// Characters of Unicode 15 and 16 by general category, which PCRE2 10.42 (Unicode 14) takes for
// unassigned: tokenizers that models were trained with have them. Where PCRE2 knows them, too,
// nothing changes.
struct LaterCharacters {
  std::string_view category;
  std::string_view ranges;
};
constexpr LaterCharacters kLaterCharacters[] = {
    {"{L}",
     "\\x{1C89}-\\x{1C8A}\\x{A7CB}-\\x{A7CD}\\x{A7DA}-\\x{A7DC}\\x{105C0}-\\x{105F3}"
     "\\x{10D4A}-\\x{10D65}\\x{10D6F}-\\x{10D85}\\x{10EC2}-\\x{10EC4}\\x{1123F}-\\x{11240}"
     "\\x{11380}-\\x{11389}\\x{1138B}\\x{1138E}\\x{11390}-\\x{113B5}\\x{113B7}\\x{113D1}"
     "\\x{113D3}\\x{11BC0}-\\x{11BE0}\\x{11F02}\\x{11F04}-\\x{11F10}\\x{11F12}-\\x{11F33}"
     "\\x{1342F}\\x{13441}-\\x{13446}\\x{13460}-\\x{143FA}\\x{16100}-\\x{1611D}"
     "\\x{16D40}-\\x{16D6C}\\x{18CFF}\\x{1B132}\\x{1B155}\\x{1DF25}-\\x{1DF2A}"
     "\\x{1E030}-\\x{1E06D}\\x{1E4D0}-\\x{1E4EB}\\x{1E5D0}-\\x{1E5ED}\\x{1E5F0}\\x{2B739}"
     "\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}"},
    {"{M}",
     "\\x{897}\\x{CF3}\\x{ECE}\\x{10D69}-\\x{10D6D}\\x{10EFC}-\\x{10EFF}\\x{11241}"
     "\\x{113B8}-\\x{113C0}\\x{113C2}\\x{113C5}\\x{113C7}-\\x{113CA}\\x{113CC}-\\x{113D0}"
     "\\x{113D2}\\x{113E1}-\\x{113E2}\\x{11F00}-\\x{11F01}\\x{11F03}\\x{11F34}-\\x{11F3A}"
     "\\x{11F3E}-\\x{11F42}\\x{11F5A}\\x{13440}\\x{13447}-\\x{13455}\\x{1611E}-\\x{1612F}"
     "\\x{1E08F}\\x{1E4EC}-\\x{1E4EF}\\x{1E5EE}-\\x{1E5EF}"},
    {"{N}",
     "\\x{10D40}-\\x{10D49}\\x{116D0}-\\x{116E3}\\x{11BF0}-\\x{11BF9}\\x{11F50}-\\x{11F59}"
     "\\x{16130}-\\x{16139}\\x{16D70}-\\x{16D79}\\x{1CCF0}-\\x{1CCF9}\\x{1D2C0}-\\x{1D2D3}"
     "\\x{1E4F0}-\\x{1E4F9}\\x{1E5F1}-\\x{1E5FA}"},
};

class OnigurumaTranslation {
 public:
  explicit OnigurumaTranslation(std::string_view pattern) : pattern_(pattern) {}

  absl::StatusOr<std::string> Run() {
    while (at_ < pattern_.size()) {
      RETURN_IF_ERROR(in_class_ ? ClassItem() : Item());
    }
    if (in_class_) return absl::InvalidArgumentError("a [ is not closed");
    return std::move(out_);
  }

 private:
  std::string_view rest() const { return pattern_.substr(at_); }
  bool RestStartsWith(std::string_view text) const { return rest().starts_with(text); }

  void Copy(size_t bytes) {
    out_.append(rest().substr(0, bytes));
    at_ += bytes;
  }
  void Replace(size_t bytes, std::string_view by) {
    out_.append(by);
    at_ += bytes;
  }
  absl::Status Refuse(std::string_view construct) const {
    return absl::UnimplementedError(
        absl::StrCat("regular expression construct ", Av(construct), " at byte ", at_));
  }

  absl::Status Item() {
    const char c = pattern_[at_];
    if (c == '\\') return Escape();
    if (c == '[') return OpenClass();
    if (c == '(') return OpenGroup();
    if (c == '{') return Interval();
    if (c == '^' || c == '$') {  // in Ruby's syntax they always mean lines
      Replace(1, c == '^' ? "(?m:^)" : "(?m:$)");
    } else {
      Copy(1);
    }
    return absl::OkStatus();
  }

  absl::Status OpenClass() {
    Copy(RestStartsWith("[^") ? 2 : 1);
    if (RestStartsWith("]")) return Refuse("[]");
    in_class_ = true;
    return absl::OkStatus();
  }

  absl::Status ClassItem() {
    if (pattern_[at_] == '\\') return Escape();
    if (pattern_[at_] == '[') return Refuse("[ inside [ ]");
    if (RestStartsWith("&&")) return Refuse("&& inside [ ]");
    if (pattern_[at_] == ']') in_class_ = false;
    Copy(1);
    return absl::OkStatus();
  }

  absl::Status OpenGroup() {
    // (?i) in the middle of an alternation groups what follows in Ruby's syntax, so only in front.
    if (at_ == 0 && RestStartsWith("(?i)")) {
      Copy(4);
      return absl::OkStatus();
    }
    for (const std::string_view group : {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"}) {
      if (RestStartsWith(group)) {
        Copy(group.size());
        return absl::OkStatus();
      }
    }
    if (RestStartsWith("(?") || RestStartsWith("(*")) return Refuse(rest().substr(0, 3));
    Copy(1);
    return absl::OkStatus();
  }

  // {n}, {n,} and {n,m}, greedy or with a lazy ? where a comma is.
  absl::Status Interval() {
    const size_t close = rest().find('}');
    if (close == std::string_view::npos || close < 2) return Refuse("{");
    const std::string_view inside = rest().substr(1, close - 1);
    if (!std::isdigit(static_cast<unsigned char>(inside[0])) ||
        inside.find_first_not_of("0123456789,") != std::string_view::npos) {
      return Refuse(rest().substr(0, close + 1));
    }
    const std::string_view after = rest().substr(close + 1);
    const bool bare = inside.find(',') == std::string_view::npos;
    if (after.starts_with("+") || (bare && after.starts_with("?"))) {
      return Refuse(rest().substr(0, close + 2));
    }
    Copy(close + 1);
    return absl::OkStatus();
  }

  absl::Status Escape() {
    if (at_ + 1 == pattern_.size()) return absl::InvalidArgumentError("ends in \\");
    const unsigned char c = static_cast<unsigned char>(pattern_[at_ + 1]);
    if (c == 'w' || c == 'W') return WordEscape();
    if (c == 'p' || c == 'P') return Property();
    if (c == 'x' || c == 'u') return HexEscape();
    if (c == 's' || c == 'S') {  // PCRE2's own \s has U+180E too
      Replace(2, c == 's' ? "\\p{White_Space}" : "\\P{White_Space}");
      return absl::OkStatus();
    }
    if (c == 'v') {  // in PCRE2 a class of characters
      Replace(2, "\\x0b");
      return absl::OkStatus();
    }
    const bool same = std::string_view("dDnrtfae").find(c) != std::string_view::npos;
    const bool same_outside = !in_class_ && (c == 'A' || c == 'z' || c == 'Z');
    if (!same && !same_outside && std::isalnum(c)) return Refuse(rest().substr(0, 2));
    Copy(2);
    return absl::OkStatus();
  }

  absl::Status WordEscape() {
    const bool negated = pattern_[at_ + 1] == 'W';
    if (in_class_ && negated) return Refuse("\\W inside [ ]");
    if (in_class_) {
      Replace(2, kWordCharacters);
    } else {
      const std::string set = absl::StrCat(negated ? "[^" : "[", Av(kWordCharacters), "]");
      Replace(2, set);
    }
    return absl::OkStatus();
  }

  absl::Status Property() {
    const size_t close = rest().find('}');
    if (rest().substr(2, 1) != "{" || close == std::string_view::npos) {
      return Refuse(rest().substr(0, 3));
    }
    const std::string_view category = rest().substr(2, close - 1);
    const bool negated = pattern_[at_ + 1] == 'P';
    const auto* later =
        std::find_if(std::begin(kLaterCharacters), std::end(kLaterCharacters),
                     [&](const LaterCharacters& entry) { return entry.category == category; });
    if (later == std::end(kLaterCharacters) || (in_class_ && negated)) {
      Copy(close + 1);
      return absl::OkStatus();
    }
    const std::string set = absl::StrCat("\\p", Av(category), Av(later->ranges));
    Replace(close + 1, in_class_ ? set : absl::StrCat(negated ? "[^" : "[", set, "]"));
    return absl::OkStatus();
  }

  // \x{H..}, \xHH (below 0x80: above, Oniguruma means a byte) and \uHHHH.
  absl::Status HexEscape() {
    const bool braced = RestStartsWith("\\x{");
    const size_t close = rest().find('}');
    if (braced && close == std::string_view::npos) return Refuse("\\x{");
    const bool short_form = pattern_[at_ + 1] == 'u';
    const size_t digits = braced ? close - 3 : (short_form ? 4 : 2);
    const std::string_view hex = rest().substr(braced ? 3 : 2, digits);
    bool valid = hex.size() == digits && !hex.empty();
    for (const unsigned char c : hex) valid = valid && std::isxdigit(c);
    if (!valid || (!braced && !short_form && hex[0] > '7')) return Refuse(rest().substr(0, 4));
    const std::string code_point = absl::StrCat("\\x{", Av(hex), "}");
    Replace(braced ? close + 1 : 2 + digits, code_point);
    return absl::OkStatus();
  }

  const std::string_view pattern_;
  size_t at_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> PcreFromOniguruma(std::string_view pattern) {
  return OnigurumaTranslation(pattern).Run();
}

std::string PcreFromLiteral(std::string_view literal) {
  std::string pattern;
  for (const char c : literal) {
    const unsigned char byte = static_cast<unsigned char>(c);
    if (byte == 0) {
      pattern.append("\\x{0}");
      continue;
    }
    if (byte < 0x80 && !std::isalnum(byte)) pattern.push_back('\\');
    pattern.push_back(c);
  }
  return pattern;
}

}  // namespace headlong
