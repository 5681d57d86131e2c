// Finds added tokens inside a text as Hugging Face's tokenizers library does: leftmost, then
// longest, never overlapping. Immutable; usable from any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "model/tokenizer_spec.h"

namespace headlong {

// Contents longer than this are refused: a search costs text length times longest content.
inline constexpr size_t kMaxAddedTokenBytes = 1024;

// A piece of a text: an added token, or (no id) ordinary text.
struct TextPiece {
  std::string_view text;
  std::optional<TokenId> id;
};

class AddedTokenMatcher {
 public:
  // Of two tokens with the same content the first counts. One without content is never found.
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }
  // Cuts `text` (valid UTF-8) into pieces in order. White space that an lstrip or rstrip token
  // swallows belongs to its piece.
  std::vector<TextPiece> Split(std::string_view text) const;

 private:
  struct Match {
    size_t begin = 0;
    size_t end = 0;
    const AddedToken* token = nullptr;
  };

  std::optional<Match> FindNext(std::string_view text, size_t from) const;
  const AddedToken* LongestAt(std::string_view text, size_t begin) const;

  std::vector<AddedToken> tokens_;
  std::array<bool, 256> begins_token_{};
  // A trie: node 0 is the root; an edge is (node << 8 | byte).
  absl::flat_hash_map<uint64_t, uint32_t> edges_;
  std::vector<int32_t> token_of_node_;  // -1: none ends here
};

}  // namespace headlong
