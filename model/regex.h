// Regular expressions on PCRE2 (UTF, UCP, JIT). A Regex is immutable and shared by threads; a
// RegexMatcher is the scratch of one call. Properties are those of PCRE2's Unicode version (14 in
// 10.42): characters assigned later count as unassigned, but those of Unicode 15 and 16 are
// letters, marks and numbers in translated patterns.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace headlong {

// Patterns in tokenizer.json are meant for Oniguruma (Ruby syntax). The same pattern for PCRE2:
// \s and \w by Unicode's definitions, ^ and $ at lines. UNIMPLEMENTED names a construct that the
// two read differently (nested classes, \h, \b, {n,m}+, inline flags other than i).
absl::StatusOr<std::string> PcreFromOniguruma(std::string_view pattern);

// A pattern that matches `literal` and nothing else.
std::string PcreFromLiteral(std::string_view literal);

class Regex {
 public:
  // INVALID_ARGUMENT with the place in the pattern.
  static absl::StatusOr<Regex> Compile(std::string_view pattern);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

 private:
  friend class RegexMatcher;
  struct Program;
  explicit Regex(std::unique_ptr<Program> program);
  std::unique_ptr<Program> program_;
};

class RegexMatcher {
 public:
  struct Range {
    size_t begin = 0;
    size_t end = 0;
  };

  // REQUIRES: `regex` outlives this.
  explicit RegexMatcher(const Regex& regex);
  ~RegexMatcher();
  RegexMatcher(const RegexMatcher&) = delete;
  RegexMatcher& operator=(const RegexMatcher&) = delete;

  // The leftmost match in `text` (valid UTF-8) that begins at `from` or later; nullopt when there
  // is none. RESOURCE_EXHAUSTED when the pattern backtracks beyond PCRE2's limits.
  absl::StatusOr<std::optional<Range>> Find(std::string_view text, size_t from);

 private:
  struct Scratch;
  const Regex& regex_;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace headlong
