#include "model/added_tokens.h"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <utility>

namespace headlong {
namespace {

bool IsWordCharacter(UChar32 c) {  // Unicode TR18 annex C: what \w means
  constexpr uint32_t kMask = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return (U_GET_GC_MASK(c) & kMask) != 0 || u_hasBinaryProperty(c, UCHAR_ALPHABETIC) ||
         u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL);
}

// REQUIRES for both: text is valid UTF-8 and not empty.
UChar32 FirstCharacter(std::string_view text, int32_t* bytes) {
  UChar32 c;
  int32_t at = 0;
  const int32_t size = static_cast<int32_t>(std::min<size_t>(text.size(), 4));
  U8_NEXT(text.data(), at, size, c);
  *bytes = at;
  return c;
}

UChar32 LastCharacter(std::string_view text, int32_t* bytes) {
  const std::string_view tail = text.substr(text.size() - std::min<size_t>(text.size(), 4));
  UChar32 c;
  int32_t at = static_cast<int32_t>(tail.size());
  U8_PREV(tail.data(), 0, at, c);
  *bytes = static_cast<int32_t>(tail.size()) - at;
  return c;
}

size_t LeadingSpace(std::string_view text) {
  size_t space = 0;
  int32_t bytes = 0;
  while (space < text.size() && u_isUWhiteSpace(FirstCharacter(text.substr(space), &bytes))) {
    space += bytes;
  }
  return space;
}

size_t TrailingSpace(std::string_view text) {
  size_t space = 0;
  int32_t bytes = 0;
  while (space < text.size() &&
         u_isUWhiteSpace(LastCharacter(text.substr(0, text.size() - space), &bytes))) {
    space += bytes;
  }
  return space;
}

bool InsideWord(std::string_view before, std::string_view after) {
  int32_t bytes = 0;
  return (!before.empty() && IsWordCharacter(LastCharacter(before, &bytes))) ||
         (!after.empty() && IsWordCharacter(FirstCharacter(after, &bytes)));
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  token_of_node_.push_back(-1);
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& content = tokens_[i].content;
    if (content.empty()) continue;
    begins_token_[static_cast<uint8_t>(content[0])] = true;
    uint32_t node = 0;
    for (const char c : content) {
      const uint64_t edge = uint64_t{node} << 8 | static_cast<uint8_t>(c);
      const auto [it, added] =
          edges_.try_emplace(edge, static_cast<uint32_t>(token_of_node_.size()));
      if (added) token_of_node_.push_back(-1);
      node = it->second;
    }
    if (token_of_node_[node] < 0) token_of_node_[node] = static_cast<int32_t>(i);
  }
}

const AddedToken* AddedTokenMatcher::LongestAt(std::string_view text, size_t begin) const {
  const AddedToken* longest = nullptr;
  uint32_t node = 0;
  for (size_t at = begin; at < text.size(); ++at) {
    const auto it = edges_.find(uint64_t{node} << 8 | static_cast<uint8_t>(text[at]));
    if (it == edges_.end()) break;
    node = it->second;
    if (token_of_node_[node] >= 0) longest = &tokens_[token_of_node_[node]];
  }
  return longest;
}

std::optional<AddedTokenMatcher::Match> AddedTokenMatcher::FindNext(std::string_view text,
                                                                    size_t from) const {
  for (size_t at = from; at < text.size(); ++at) {
    if (!begins_token_[static_cast<uint8_t>(text[at])]) continue;
    if (const AddedToken* token = LongestAt(text, at); token != nullptr) {
      return Match{at, at + token->content.size(), token};
    }
  }
  return std::nullopt;
}

std::vector<TextPiece> AddedTokenMatcher::Split(std::string_view text) const {
  std::vector<TextPiece> pieces;
  size_t covered = 0;
  for (std::optional<Match> match = FindNext(text, 0); match.has_value();
       match = FindNext(text, match->end)) {
    const AddedToken& token = *match->token;
    size_t begin = match->begin;
    size_t end = match->end;
    if (token.single_word && InsideWord(text.substr(0, begin), text.substr(end))) continue;
    if (token.lstrip) {
      begin = std::max(begin - TrailingSpace(text.substr(0, begin)), covered);
    }
    if (token.rstrip) end += LeadingSpace(text.substr(end));
    if (covered < begin) pieces.push_back({text.substr(covered, begin - covered), std::nullopt});
    pieces.push_back({text.substr(begin, end - begin), token.id});
    covered = end;
  }
  if (covered < text.size()) pieces.push_back({text.substr(covered), std::nullopt});
  return pieces;
}

}  // namespace headlong
