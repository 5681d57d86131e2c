// Byte-pair tokenizers from a Hugging Face tokenizer.json, a SentencePiece .model, or vocab.json
// with merges.txt. Thread-safe after Load (const methods only).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace headlong {

using TokenId = uint32_t;

// How the bytes of tokens become a text, whole or token by token.
struct DecodeRules {
  // Spaces taken off the very beginning: the one that encoding put there.
  int strip_spaces = 0;
  // Of bytes that form no character, each gives one U+FFFD, as in SentencePiece; else each maximal
  // subpart does, as in Rust and Python.
  bool mark_each_byte = false;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Ids of UTF-8 `text`; added tokens inside the text are recognised as Hugging Face does. With
  // `add_special_tokens` the post-processor's template is applied (e.g. BOS in front).
  // INVALID_ARGUMENT when `text` is not valid UTF-8, naming the byte.
  virtual absl::StatusOr<std::vector<TokenId>> Encode(std::string_view text,
                                                      bool add_special_tokens) const = 0;
  // Text of `ids`; incomplete UTF-8 becomes U+FFFD. Special tokens are left out unless kept.
  // INVALID_ARGUMENT for an id outside the vocabulary.
  virtual absl::StatusOr<std::string> Decode(std::span<const TokenId> ids,
                                             bool keep_special_tokens) const = 0;
  // The bytes a token adds to a text (not necessarily whole characters); empty for special tokens
  // and unknown ids.
  virtual std::string TokenBytes(TokenId id) const = 0;
  virtual bool IsSpecial(TokenId id) const = 0;
  virtual DecodeRules decode_rules() const { return {}; }
  virtual int vocab_size() const = 0;  // largest id + 1
};

// A model folder or a file itself. Of a folder the first that is there: tokenizer.json;
// tokenizer.model; vocab.json and merges.txt (tokenizer_config.json then tells the pattern and the
// added tokens). Errors name the file and the field; what is not supported is UNIMPLEMENTED by the
// name of the field and its value.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::filesystem::path& path);

// Whether a model folder holds any of those files.
bool HasTokenizer(const std::filesystem::path& model_dir);

// For a model without a tokenizer: no text becomes tokens (FAILED_PRECONDITION), tokens become
// empty texts.
std::unique_ptr<Tokenizer> MakeIdTokenizer(int vocab_size);

// Turns a stream of tokens into a stream of whole UTF-8 characters; all of them together are what
// Decode gives. With `mid_text` the tokens go on with a text, so that no space is taken off.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer* tokenizer, bool mid_text = false);
  // Whole characters that `id` completes; bytes that can never become a character give U+FFFD.
  std::string Push(TokenId id);
  // What is still held back, as U+FFFD when incomplete.
  std::string Flush();

 private:
  const Tokenizer* tokenizer_;
  DecodeRules rules_;
  std::string pending_;
};

}  // namespace headlong
