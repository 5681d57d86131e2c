#include "common/access_tokens.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr size_t kHashDigits = 64;
constexpr char kMaxConcurrent[] = "max-concurrent";
constexpr char kTokensPerSecond[] = "tokens-per-second";
constexpr char kCacheShare[] = "cache-share";

constexpr std::pair<std::string_view, Scope> kScopes[] = {
    {"infer", Scope::kInfer}, {"read", Scope::kRead}, {"admin", Scope::kAdmin}};

absl::StatusOr<std::set<Scope>> ParseScopes(std::string_view text) {
  std::set<Scope> scopes;
  for (const std::string& word : std::vector<std::string>(absl::StrSplit(Av(text), ','))) {
    const auto* known = std::find_if(std::begin(kScopes), std::end(kScopes),
                                     [&word](const auto& entry) { return entry.first == word; });
    if (known == std::end(kScopes)) {
      return absl::InvalidArgumentError(
          absl::StrCat("scope \"", word, "\" is none of infer, read and admin"));
    }
    scopes.insert(known->second);
  }
  if (scopes.contains(Scope::kAdmin)) scopes.insert(Scope::kRead);
  return scopes;
}

absl::Status ParseLimit(const std::string& word, TokenLimits& limits) {
  const std::pair<std::string, std::string> split = absl::StrSplit(word, absl::MaxSplits('=', 1));
  const auto& [name, value] = split;
  bool known = true;
  bool valid = false;
  if (name == kMaxConcurrent) {
    valid = absl::SimpleAtoi(value, &limits.max_concurrent) && limits.max_concurrent >= 1;
  } else if (name == kTokensPerSecond) {
    valid = absl::SimpleAtod(value, &limits.tokens_per_second) && limits.tokens_per_second > 0 &&
            std::isfinite(limits.tokens_per_second);
  } else if (name == kCacheShare) {
    valid = absl::SimpleAtod(value, &limits.cache_share) && limits.cache_share > 0 &&
            limits.cache_share <= 1;
  } else {
    known = false;
  }
  if (valid) return absl::OkStatus();
  return absl::InvalidArgumentError(known ? absl::StrCat(word, " is out of range")
                                          : absl::StrCat("limit \"", word, "\" is none of ",
                                                         kMaxConcurrent, "=N, ", kTokensPerSecond,
                                                         "=N and ", kCacheShare, "=SHARE (of 1)"));
}

bool IsHash(std::string_view text) {
  return text.size() == kHashDigits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

std::string_view NameOf(Scope scope) {
  for (const auto& [name, value] : kScopes) {
    if (value == scope) return name;
  }
  return scope == Scope::kWorker ? "worker" : "none";
}

std::string LimitsText(const TokenLimits& limits) {
  std::string text;
  const auto add = [&text](const char* name, double value) {
    if (value > 0) absl::StrAppend(&text, " ", name, "=", value);
  };
  if (limits.max_concurrent > 0) {
    absl::StrAppend(&text, " ", kMaxConcurrent, "=", limits.max_concurrent);
  }
  add(kTokensPerSecond, limits.tokens_per_second);
  add(kCacheShare, limits.cache_share);
  return text;
}

absl::StatusOr<AccessTokens> ParseTokens(std::string_view text, std::string_view source) {
  AccessTokens tokens;
  int number = 0;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(Av(text), '\n'))) {
    ++number;
    const std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.empty() || words[0][0] == '#') continue;
    const auto wrong = [&](absl::string_view why) {
      return absl::InvalidArgumentError(absl::StrCat(Av(source), ", line ", number, ": ", why));
    };
    if (words.size() < 3) return wrong("must be NAME SCOPES SHA256 and limits");
    auto scopes = ParseScopes(words[1]);
    if (!scopes.ok()) return wrong(scopes.status().message());
    if (!IsHash(words[2])) return wrong("the third word must be a SHA-256 in 64 hex digits");
    AccessToken token{words[0], *std::move(scopes), {}};
    for (size_t i = 3; i < words.size(); ++i) {
      const absl::Status limit = ParseLimit(words[i], token.limits);
      if (!limit.ok()) return wrong(limit.message());
    }
    if (!tokens.try_emplace(words[2], std::move(token)).second) {
      return wrong("the same token twice");
    }
  }
  return tokens;
}

}  // namespace headlong
