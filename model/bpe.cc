#include "model/bpe.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "common/status.h"

namespace headlong {
namespace {

// Up to here a scan over all pairs beats a heap.
constexpr size_t kShortWordBytes = 48;

// REQUIRES: `lead` begins a character of valid UTF-8.
constexpr size_t Utf8Length(uint8_t lead) {
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

constexpr uint64_t PairKey(TokenId left, TokenId right) { return uint64_t{left} << 32 | right; }

}  // namespace

int CharacterPairs::ClassOf(std::string_view text, size_t at) {
  const uint8_t lead = static_cast<uint8_t>(text[at]);
  if (lead < 0x80) return lead;
  uint32_t code = lead;
  for (size_t i = 1; i < Utf8Length(lead); ++i) {
    code = code << 6 | (static_cast<uint8_t>(text[at + i]) & 0x3F);
  }
  return 128 + static_cast<int>(code % (kClasses - 128));
}

void CharacterPairs::Add(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t next = at + Utf8Length(static_cast<uint8_t>(text[at]));
    if (next < text.size()) found_[ClassOf(text, at) * kClasses + ClassOf(text, next)] = true;
    at = next;
  }
}

size_t CharacterPairs::JoinedPrefix(std::string_view text) const {
  int before = ClassOf(text, 0);
  size_t at = Utf8Length(static_cast<uint8_t>(text[0]));
  while (at < text.size()) {
    const int after = ClassOf(text, at);
    if (!found_[before * kClasses + after]) break;
    before = after;
    at += Utf8Length(static_cast<uint8_t>(text[at]));
  }
  return at;
}

Bpe::Bpe(const BpeSpec& spec) : from_characters_(spec.from_characters), byte_ids_(spec.byte_ids) {
  merges_.reserve(spec.merges.size());
  for (const BpeMerge& merge : spec.merges) {
    // A pair that stands twice has its last rank, as in Hugging Face's library.
    merges_[PairKey(merge.left, merge.right)] = {merge.rank, merge.result};
  }
  AddWholeWords(spec);
  const absl::flat_hash_set<TokenId> byte_ids(byte_ids_.begin(), byte_ids_.end());
  absl::flat_hash_set<TokenId> results;
  bool bytes_merge = false;  // then a result's text does not tell which characters it covers
  for (const BpeMerge& merge : spec.merges) {
    results.insert(merge.result);
    bytes_merge = bytes_merge || byte_ids.contains(merge.left) || byte_ids.contains(merge.right);
  }
  if (from_characters_ && !spec.ignore_merges && !bytes_merge) {
    pairs_.emplace();
    for (const BpeSpec::Token& token : spec.vocab) {
      if (results.contains(token.id)) pairs_->Add(token.text);
    }
  }
}

void Bpe::AddWholeWords(const BpeSpec& spec) {
  ascii_ids_.fill(kNoToken);
  size_t bytes = 0;
  for (const BpeSpec::Token& token : spec.vocab) {
    if (token.mergeable) bytes += token.text.size();
  }
  arena_.reserve(bytes);  // never grows beyond: the keys stay where they are
  whole_words_.reserve(spec.vocab.size());
  std::vector<std::pair<absl::string_view, TokenId>> words;
  for (const BpeSpec::Token& token : spec.vocab) {
    if (!token.mergeable || token.text.empty()) continue;
    const size_t at = arena_.size();
    arena_ += token.text;
    const absl::string_view text(arena_.data() + at, token.text.size());
    words.emplace_back(text, token.id);
    if (!from_characters_) continue;
    const size_t first = Utf8Length(static_cast<uint8_t>(text[0]));
    if (text.size() == first) character_ids_.emplace(text, token.id);
    if (text.size() == first && first == 1) ascii_ids_[static_cast<uint8_t>(text[0])] = token.id;
  }
  std::vector<TokenId> ids;
  for (const auto& [text, id] : words) {
    if (!spec.ignore_merges) {
      ids.clear();
      MergeWord({text.data(), text.size()}, &ids);
      if (ids.size() != 1 || ids[0] != id) continue;
    }
    whole_words_.emplace(text, id);
  }
}

void Bpe::Encode(std::string_view word, std::vector<TokenId>* ids) const {
  while (!word.empty()) {
    const size_t part = pairs_.has_value() ? pairs_->JoinedPrefix(word) : word.size();
    EncodePart(word.substr(0, part), ids);
    word.remove_prefix(part);
  }
}

void Bpe::EncodePart(std::string_view part, std::vector<TokenId>* ids) const {
  if (const auto it = whole_words_.find(Av(part)); it != whole_words_.end()) {
    ids->push_back(it->second);
  } else {
    MergeWord(part, ids);
  }
}

size_t Bpe::FirstSymbols(std::string_view word, TokenId* symbols) const {
  size_t count = 0;
  if (!from_characters_) {
    for (const char c : word) symbols[count++] = byte_ids_[static_cast<uint8_t>(c)];
    return count;
  }
  for (size_t at = 0; at < word.size();) {
    const uint8_t lead = static_cast<uint8_t>(word[at]);
    const size_t length = Utf8Length(lead);
    TokenId id = kNoToken;
    if (length == 1) {
      id = ascii_ids_[lead];
    } else if (const auto it = character_ids_.find(Av(word.substr(at, length)));
               it != character_ids_.end()) {
      id = it->second;
    }
    if (id != kNoToken) {
      symbols[count++] = id;
    } else {
      for (size_t i = 0; i < length; ++i) {
        symbols[count++] = byte_ids_[static_cast<uint8_t>(word[at + i])];
      }
    }
    at += length;
  }
  return count;
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
  size_t count = FirstSymbols(word, symbols);
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
  std::vector<TokenId> first(word.size());
  const uint32_t size = static_cast<uint32_t>(FirstSymbols(word, first.data()));
  std::vector<Symbol> symbols(size);
  for (uint32_t i = 0; i < size; ++i) {
    symbols[i].id = first[i];
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
