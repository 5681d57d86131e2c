#include "model/bpe.h"

#include <algorithm>
#include <queue>

#include "common/status.h"

namespace headlong {
namespace {

// Up to here a scan over all pairs beats a heap.
constexpr size_t kShortWordBytes = 48;

constexpr uint64_t PairKey(TokenId left, TokenId right) { return uint64_t{left} << 32 | right; }

}  // namespace

Bpe::Bpe(const BpeSpec& spec) {
  merges_.reserve(spec.merges.size());
  for (size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const BpeMerge& merge = spec.merges[rank];
    // A pair that stands twice has its last rank, as in Hugging Face's library.
    merges_[PairKey(merge.left, merge.right)] = {static_cast<uint32_t>(rank), merge.result};
  }
  size_t bytes = 0;
  for (const BpeSpec::Token& token : spec.vocab) {
    if (token.mergeable) bytes += token.bytes.size();
    if (token.mergeable && token.bytes.size() == 1) {
      byte_ids_[static_cast<uint8_t>(token.bytes[0])] = token.id;
    }
  }
  arena_.reserve(bytes);  // never grows beyond: the keys stay where they are
  whole_words_.reserve(spec.vocab.size());
  std::vector<TokenId> ids;
  for (const BpeSpec::Token& token : spec.vocab) {
    if (!token.mergeable || token.bytes.empty()) continue;
    if (!spec.ignore_merges) {
      ids.clear();
      MergeWord(token.bytes, &ids);
      if (ids.size() != 1 || ids[0] != token.id) continue;
    }
    const size_t at = arena_.size();
    arena_ += token.bytes;
    whole_words_.emplace(absl::string_view(arena_.data() + at, token.bytes.size()), token.id);
  }
}

void Bpe::Encode(std::string_view word, std::vector<TokenId>* ids) const {
  if (word.empty()) return;
  if (const auto it = whole_words_.find(Av(word)); it != whole_words_.end()) {
    ids->push_back(it->second);
  } else {
    MergeWord(word, ids);
  }
}

Bpe::Merge Bpe::FindMerge(TokenId left, TokenId right) const {
  const auto it = merges_.find(PairKey(left, right));
  return it == merges_.end() ? Merge{} : it->second;
}

void Bpe::MergeWord(std::string_view word, std::vector<TokenId>* ids) const {
  if (word.size() <= kShortWordBytes) {
    MergeShort(word, ids);
  } else {
    MergeLong(word, ids);
  }
}

void Bpe::MergeShort(std::string_view word, std::vector<TokenId>* ids) const {
  TokenId symbols[kShortWordBytes];
  Merge pairs[kShortWordBytes];  // pairs[i]: symbols i and i + 1; the last has no rank
  size_t count = word.size();
  for (size_t i = 0; i < count; ++i) symbols[i] = byte_ids_[static_cast<uint8_t>(word[i])];
  for (size_t i = 0; i + 1 < count; ++i) pairs[i] = FindMerge(symbols[i], symbols[i + 1]);
  pairs[count - 1] = Merge{};
  while (true) {
    size_t best = 0;
    for (size_t i = 1; i < count; ++i) {
      if (pairs[i].rank < pairs[best].rank) best = i;
    }
    if (pairs[best].rank == kNoRank) break;
    symbols[best] = pairs[best].result;
    std::copy(symbols + best + 2, symbols + count, symbols + best + 1);
    std::copy(pairs + best + 1, pairs + count, pairs + best);
    --count;
    if (best > 0) pairs[best - 1] = FindMerge(symbols[best - 1], symbols[best]);
    if (best + 1 < count) pairs[best] = FindMerge(symbols[best], symbols[best + 1]);
  }
  ids->insert(ids->end(), symbols, symbols + count);
}

void Bpe::MergeLong(std::string_view word, std::vector<TokenId>* ids) const {
  constexpr uint32_t kNone = UINT32_MAX;
  struct Symbol {
    TokenId id = 0;
    uint32_t previous = kNone;
    uint32_t next = kNone;
    uint32_t pair_rank = kNoRank;  // of this symbol and the next; kNoRank also once merged away
  };
  struct Candidate {
    uint32_t rank;
    uint32_t at;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  const uint32_t size = static_cast<uint32_t>(word.size());
  std::vector<Symbol> symbols(size);
  for (uint32_t i = 0; i < size; ++i) {
    symbols[i].id = byte_ids_[static_cast<uint8_t>(word[i])];
    symbols[i].previous = i == 0 ? kNone : i - 1;
    symbols[i].next = i + 1 == size ? kNone : i + 1;
  }
  std::vector<Candidate> candidates;
  candidates.reserve(size);
  for (uint32_t i = 0; i + 1 < size; ++i) {
    symbols[i].pair_rank = FindMerge(symbols[i].id, symbols[i + 1].id).rank;
    if (symbols[i].pair_rank != kNoRank) candidates.push_back({symbols[i].pair_rank, i});
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> heap(
      std::greater<>(), std::move(candidates));
  const auto renew_pair = [&](uint32_t at) {
    Symbol& symbol = symbols[at];
    symbol.pair_rank =
        symbol.next == kNone ? kNoRank : FindMerge(symbol.id, symbols[symbol.next].id).rank;
    if (symbol.pair_rank != kNoRank) heap.push({symbol.pair_rank, at});
  };
  while (!heap.empty()) {
    const Candidate top = heap.top();
    heap.pop();
    Symbol& left = symbols[top.at];
    if (left.pair_rank != top.rank) continue;  // one of its symbols has been merged since
    Symbol& right = symbols[left.next];
    left.id = FindMerge(left.id, right.id).result;
    left.next = right.next;
    right.pair_rank = kNoRank;
    if (left.next != kNone) symbols[left.next].previous = top.at;
    renew_pair(top.at);
    if (left.previous != kNone) renew_pair(left.previous);
  }
  for (uint32_t at = 0; at != kNone; at = symbols[at].next) ids->push_back(symbols[at].id);
}

}  // namespace headlong
