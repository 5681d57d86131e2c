// What a tokenizer's files say, as data: the steps a text takes to ids and back, checked but not
// yet built. Plain values; no invariant beyond what ParseTokenizerSpec promises.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
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

struct NormalizerStep {
  enum class Kind {
    kNfc,
    kNfd,
    kNfkc,
    kNfkd,
    kPrepend,         // `text` in front of a text that is not empty
    kReplace,         // every `pattern` by `text`
    kCollapseSpaces,  // SentencePiece: no space in front, one where there were several
    kStripEnd,        // `text` off the end, as often as it stands there
  };
  Kind kind = Kind::kNfc;
  std::string text = {};
  std::string pattern = {};    // kReplace: literal, not empty
  bool at_start_only = false;  // kPrepend: not behind an added token
};

// What becomes of the delimiters that a pattern finds (Hugging Face's SplitDelimiterBehavior).
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

struct PreTokenizerStep {
  enum class Kind { kSplit, kPrefixSpace, kMetaspace };
  enum class Prefix { kNever, kFirst, kAlways };  // kFirst: not behind an added token
  Kind kind = Kind::kSplit;
  std::string pattern = {};  // kSplit: PCRE2 syntax; kMetaspace: what stands for a space
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;             // the pattern describes what is kept, not the delimiters
  Prefix prefix = Prefix::kNever;  // kMetaspace
};

struct BpeMerge {
  TokenId left = 0;
  TokenId right = 0;
  TokenId result = 0;
  uint32_t rank = 0;  // lower is better; of equals the leftmost comes first
};

struct BpeSpec {
  struct Token {
    TokenId id = 0;
    std::string text;        // what it covers in a word
    std::string bytes;       // what it adds to a decoded text
    bool mergeable = false;  // merges can reach it
  };
  std::vector<Token> vocab;
  std::vector<BpeMerge> merges;
  bool ignore_merges = false;  // a word that is a token needs no merges
  // Where merging begins: with bytes, or with characters, of which those without a token fall back
  // to their bytes. Either way the ids of the bytes.
  bool from_characters = false;
  std::array<TokenId, 256> byte_ids{};
};

// How the bytes of tokens become a text; see the steps of tokenizer.json's decoder.
struct DecoderSpec {
  bool byte_level = false;  // tokens are written in the byte alphabet; else "<0xE2>" is a byte
  std::vector<std::pair<std::string, std::string>> replaces;  // in the text of each token
  DecodeRules rules;
};

struct TokenizerSpec {
  std::vector<AddedToken> added_tokens;
  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pre_tokenizer;
  BpeSpec model;
  DecoderSpec decoder;
  std::vector<TokenId> template_prefix;  // special tokens before and after a text
  std::vector<TokenId> template_suffix;
};

// Parses and checks the text of a tokenizer.json. INVALID_ARGUMENT names the JSON field;
// UNIMPLEMENTED names the field and its value. Promises: ids at most kMaxTokenId, none used for two
// texts; every id in merges and template exists; every byte has a token.
absl::StatusOr<TokenizerSpec> ParseTokenizerSpec(std::string_view json_text);

// The same from a file of any kind, or from a model folder. Errors name the file too.
absl::StatusOr<TokenizerSpec> ReadTokenizerSpec(const std::filesystem::path& path);

// Builds a tokenizer from what ParseTokenizerSpec gave.
absl::StatusOr<std::unique_ptr<Tokenizer>> BuildTokenizer(const TokenizerSpec& spec);

}  // namespace headlong
