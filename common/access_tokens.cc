#include "common/access_tokens.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr size_t kHashDigits = 64;

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
    if (words.size() != 3) return wrong("must be NAME SCOPES SHA256");
    auto scopes = ParseScopes(words[1]);
    if (!scopes.ok()) return wrong(scopes.status().message());
    if (!IsHash(words[2])) return wrong("the third word must be a SHA-256 in 64 hex digits");
    if (!tokens.try_emplace(words[2], AccessToken{words[0], *std::move(scopes)}).second) {
      return wrong("the same token twice");
    }
  }
  return tokens;
}

}  // namespace headlong
