// Byte-pair merges: the bytes of one word into token ids. Immutable after construction; usable from
// any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "model/tokenizer_spec.h"

namespace headlong {

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
  struct Merge {
    uint32_t rank = kNoRank;
    TokenId result = 0;
  };

  Merge FindMerge(TokenId left, TokenId right) const;
  void MergeWord(std::string_view word, std::vector<TokenId>* ids) const;
  void MergeShort(std::string_view word, std::vector<TokenId>* ids) const;
  void MergeLong(std::string_view word, std::vector<TokenId>* ids) const;

  std::array<TokenId, 256> byte_ids_{};
  absl::flat_hash_map<uint64_t, Merge> merges_;  // by left << 32 | right
  // Words whose ids are known without merging: tokens that merging their own bytes gives back, or
  // with ignore_merges all tokens. Keys point into `arena_`.
  absl::flat_hash_map<absl::string_view, TokenId> whole_words_;
  std::string arena_;
};

}  // namespace headlong
