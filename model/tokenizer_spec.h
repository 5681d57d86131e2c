// What a tokenizer.json says, as data: the steps a text takes to ids and back, checked but not yet
// built. Plain values; no invariant beyond what ParseTokenizerSpec promises.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer.h"

namespace headlong {

// Ids above this are refused: tables are indexed by id.
inline constexpr int64_t kMaxTokenId = (int64_t{1} << 22) - 1;

struct AddedToken {
  TokenId id = 0;
  std::string content;       // as it is sought: normalised when `normalized`
  std::string bytes;         // what it adds to a decoded text
  bool single_word = false;  // not inside a word
  bool lstrip = false;       // swallows white space before it
  bool rstrip = false;       // and after it
  bool normalized = false;   // sought in the normalised text
  bool special = false;      // left out when decoding
};

enum class NormalizerStep { kNfc };

// What becomes of the delimiters that a pattern finds (Hugging Face's SplitDelimiterBehavior).
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

struct PreTokenizerStep {
  enum class Kind { kSplit, kPrefixSpace };
  Kind kind = Kind::kSplit;
  std::string pattern;  // kSplit: PCRE2 syntax
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // the pattern describes what is kept, not the delimiters
};

struct BpeMerge {
  TokenId left = 0;
  TokenId right = 0;
  TokenId result = 0;
};

struct BpeSpec {
  struct Token {
    TokenId id = 0;
    std::string bytes;       // what the token adds to a text
    bool mergeable = false;  // written in the byte alphabet, so that merges can reach it
  };
  std::vector<Token> vocab;
  std::vector<BpeMerge> merges;  // best first
  bool ignore_merges = false;    // a word that is a token needs no merges
};

struct TokenizerSpec {
  std::vector<AddedToken> added_tokens;
  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pre_tokenizer;
  BpeSpec model;
  std::vector<TokenId> template_prefix;  // special tokens before and after a text
  std::vector<TokenId> template_suffix;
};

// Parses and checks the text of a tokenizer.json. INVALID_ARGUMENT names the JSON field;
// UNIMPLEMENTED names the field and its value. Promises: ids at most kMaxTokenId, none used for two
// texts; every id in merges and template exists; every byte has a token of one byte.
absl::StatusOr<TokenizerSpec> ParseTokenizerSpec(std::string_view json_text);

// Builds a tokenizer from what ParseTokenizerSpec gave.
absl::StatusOr<std::unique_ptr<Tokenizer>> BuildTokenizer(const TokenizerSpec& spec);

}  // namespace headlong
