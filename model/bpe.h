// Byte-pair merges: the bytes or characters of one word into token ids. Immutable after
// construction; usable from any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "model/tokenizer_spec.h"

namespace headlong {

// The pairs of neighbouring characters that stand in a set of texts. What is in the set is found;
// what is not may be found too, since characters share classes.
class CharacterPairs {
 public:
  void Add(std::string_view text);
  // Bytes of `text` (valid UTF-8, not empty) up to its first pair that is not in the set.
  size_t JoinedPrefix(std::string_view text) const;

 private:
  static constexpr int kClasses = 512;
  static int ClassOf(std::string_view text, size_t at);
  std::vector<bool> found_ = std::vector<bool>(kClasses * kClasses);
};

class Bpe {
 public:
  // REQUIRES: `spec` keeps the promises of ParseTokenizerSpec.
  explicit Bpe(const BpeSpec& spec);
  Bpe(const Bpe&) = delete;
  Bpe& operator=(const Bpe&) = delete;

  // Appends the ids of `word` to `ids`. Always the pair of lowest rank is merged, the leftmost of
  // equals (Sennrich et al. 2016). O(n log n) in the word's bytes.
  void Encode(std::string_view word, std::vector<TokenId>* ids) const;

 private:
  static constexpr uint32_t kNoRank = UINT32_MAX;
  static constexpr TokenId kNoToken = UINT32_MAX;
  struct Merge {
    uint32_t rank = kNoRank;
    TokenId result = 0;
  };

  Merge FindMerge(TokenId left, TokenId right) const;
  void AddWholeWords(const BpeSpec& spec);
  // Writes the ids that merging begins with; at most one per byte. Returns how many.
  size_t FirstSymbols(std::string_view word, TokenId* symbols) const;
  void EncodePart(std::string_view part, std::vector<TokenId>* ids) const;
  void MergeWord(std::string_view word, std::vector<TokenId>* ids) const;
  void MergeShort(std::string_view word, std::vector<TokenId>* ids) const;
  void MergeLong(std::string_view word, std::vector<TokenId>* ids) const;

  bool from_characters_ = false;
  std::array<TokenId, 256> byte_ids_{};
  // With from_characters: the tokens of one character, those of one byte apart (or kNoToken).
  std::array<TokenId, 128> ascii_ids_{};
  absl::flat_hash_map<absl::string_view, TokenId> character_ids_;
  // A word without spaces between its parts may be a whole text. It is cut where no merge can reach
  // across; nullopt when its ids depend on more than merges.
  std::optional<CharacterPairs> pairs_;
  absl::flat_hash_map<uint64_t, Merge> merges_;  // by left << 32 | right
  // Words whose ids are known without merging: tokens that merging their own bytes gives back, or
  // with ignore_merges all tokens. Keys point into `arena_`.
  absl::flat_hash_map<absl::string_view, TokenId> whole_words_;
  std::string arena_;
};

}  // namespace headlong
