#include "model/tokenizer.h"

#include <algorithm>
#include <utility>

#include "common/status.h"
#include "model/added_tokens.h"
#include "model/bpe.h"
#include "model/normalizer.h"
#include "model/pretokenizer.h"
#include "model/tokenizer_spec.h"
#include "model/utf8.h"

namespace headlong {
namespace {

// Positions inside a word are 32 bits wide; no prompt comes near this.
constexpr size_t kMaxTextBytes = size_t{1} << 30;

// What ids stand for. Ids between those of the vocabulary may be unused.
class TokenTable {
 public:
  explicit TokenTable(const TokenizerSpec& spec) {
    TokenId largest = 0;
    for (const auto& token : spec.model.vocab) largest = std::max(largest, token.id);
    for (const auto& token : spec.added_tokens) largest = std::max(largest, token.id);
    entries_.resize(size_t{largest} + 1);
    for (const auto& token : spec.model.vocab) Set(token.id, token.bytes, false);
    for (const auto& token : spec.added_tokens) Set(token.id, token.bytes, token.special);
  }

  int size() const { return static_cast<int>(entries_.size()); }
  bool Has(TokenId id) const { return id < entries_.size() && entries_[id].used; }
  bool IsSpecial(TokenId id) const { return Has(id) && entries_[id].special; }
  // REQUIRES: Has(id).
  std::string_view Bytes(TokenId id) const {
    return std::string_view(arena_).substr(entries_[id].begin, entries_[id].bytes);
  }

 private:
  struct Entry {
    size_t begin = 0;
    uint32_t bytes = 0;
    bool used = false;
    bool special = false;
  };

  void Set(TokenId id, const std::string& bytes, bool special) {
    entries_[id] = {arena_.size(), static_cast<uint32_t>(bytes.size()), true, special};
    arena_ += bytes;
  }

  std::vector<Entry> entries_;
  std::string arena_;
};

// Text → added tokens and what lies between → normalised → words → ids. Data decides which steps
// do something; see TokenizerSpec.
class BpeTokenizer final : public Tokenizer {
 public:
  BpeTokenizer(const TokenizerSpec& spec, PreTokenizer pre_tokenizer,
               std::vector<AddedToken> raw_added, std::vector<AddedToken> normalized_added)
      : table_(spec),
        normalizer_(spec.normalizer),
        raw_added_(std::move(raw_added)),
        normalized_added_(std::move(normalized_added)),
        pre_tokenizer_(std::move(pre_tokenizer)),
        bpe_(spec.model),
        decode_rules_(spec.decoder.rules),
        template_prefix_(spec.template_prefix),
        template_suffix_(spec.template_suffix) {}

  absl::StatusOr<std::vector<TokenId>> Encode(std::string_view text,
                                              bool add_special_tokens) const override {
    if (text.size() > kMaxTextBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("text: longer than ", kMaxTextBytes, " bytes"));
    }
    if (const size_t valid = ValidUtf8Prefix(text); valid != text.size()) {
      return absl::InvalidArgumentError(absl::StrCat("text: not valid UTF-8 at byte ", valid));
    }
    std::vector<TokenId> ids;
    if (add_special_tokens) ids = template_prefix_;
    for (const TextPiece& piece : raw_added_.Split(text)) {
      if (piece.id.has_value()) {
        ids.push_back(*piece.id);
      } else {
        RETURN_IF_ERROR(EncodeText(piece.text, piece.text.data() == text.data(), &ids));
      }
    }
    if (add_special_tokens) {
      ids.insert(ids.end(), template_suffix_.begin(), template_suffix_.end());
    }
    return ids;
  }

  absl::StatusOr<std::string> Decode(std::span<const TokenId> ids,
                                     bool keep_special_tokens) const override {
    DecodeRules rules = decode_rules_;
    std::string bytes;
    for (const TokenId id : ids) {
      if (!table_.Has(id)) {
        return absl::InvalidArgumentError(
            absl::StrCat("token id ", id, " is not in the vocabulary"));
      }
      if (keep_special_tokens || !table_.IsSpecial(id)) bytes += table_.Bytes(id);
    }
    StripSpaces(&bytes, &rules.strip_spaces);
    return LossyUtf8(std::move(bytes), rules.mark_each_byte);
  }

  std::string TokenBytes(TokenId id) const override {
    if (!table_.Has(id) || table_.IsSpecial(id)) return "";
    return std::string(table_.Bytes(id));
  }
  bool IsSpecial(TokenId id) const override { return table_.IsSpecial(id); }
  DecodeRules decode_rules() const override { return decode_rules_; }
  int vocab_size() const override { return table_.size(); }

 private:
  // Text between the added tokens that are sought before normalisation.
  absl::Status EncodeText(std::string_view text, bool at_start, std::vector<TokenId>* ids) const {
    std::string normalized;
    if (!normalizer_.is_identity()) {
      ASSIGN_OR_RETURN(normalized, normalizer_.Normalize(text, at_start));
      text = normalized;
    }
    for (const TextPiece& piece : normalized_added_.Split(text)) {
      if (piece.id.has_value()) {
        ids->push_back(*piece.id);
        continue;
      }
      const bool first = at_start && piece.text.data() == text.data();
      ASSIGN_OR_RETURN(const WordList list, pre_tokenizer_.Split(piece.text, first));
      for (const std::string_view word : list.words) bpe_.Encode(word, ids);
    }
    return absl::OkStatus();
  }

  const TokenTable table_;
  const Normalizer normalizer_;
  const AddedTokenMatcher raw_added_;
  const AddedTokenMatcher normalized_added_;  // sought after normalisation
  const PreTokenizer pre_tokenizer_;
  const Bpe bpe_;
  const DecodeRules decode_rules_;
  const std::vector<TokenId> template_prefix_;
  const std::vector<TokenId> template_suffix_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> BuildTokenizer(const TokenizerSpec& spec) {
  ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::Create(spec.pre_tokenizer));
  std::vector<AddedToken> raw;
  std::vector<AddedToken> normalized;
  for (const AddedToken& token : spec.added_tokens) {
    (token.normalized ? normalized : raw).push_back(token);
  }
  return std::make_unique<BpeTokenizer>(spec, std::move(pre_tokenizer), std::move(raw),
                                        std::move(normalized));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(const TokenizerSpec spec, ReadTokenizerSpec(path));
  auto tokenizer = BuildTokenizer(spec);
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), path.string());
  return tokenizer;
}

}  // namespace headlong
