// Any bytes as a tokenizer.json: a status comes back, and what is accepted encodes and decodes any
// text, a stream of its tokens being what the whole is. What follows a NUL is the text.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "model/tokenizer.h"
#include "model/tokenizer_spec.h"
#include "model/utf8.h"

namespace {

using headlong::TokenId;

void Require(bool ok) {
  if (!ok) std::abort();
}

void CheckText(const headlong::Tokenizer& tokenizer, const std::string& text) {
  const auto ids = tokenizer.Encode(text, /*add_special_tokens=*/true);
  if (!ids.ok()) return;  // not UTF-8, or a pattern that backtracks too far
  for (const TokenId id : *ids) Require(id < static_cast<TokenId>(tokenizer.vocab_size()));
  const auto decoded = tokenizer.Decode(*ids, /*keep_special_tokens=*/false);
  Require(decoded.ok() && headlong::ValidUtf8Prefix(*decoded) == decoded->size());
  headlong::StreamDecoder decoder(&tokenizer);
  std::string streamed;
  for (const TokenId id : *ids) streamed += decoder.Push(id);
  streamed += decoder.Flush();
  Require(streamed == *decoded);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(input.find('\0'), size);
  const auto spec = headlong::ParseTokenizerSpec(input.substr(0, end));
  if (!spec.ok()) {
    Require(!spec.status().message().empty());
    return 0;
  }
  const auto tokenizer = headlong::BuildTokenizer(*spec);
  Require(tokenizer.ok());
  CheckText(**tokenizer, input.substr(std::min(end + 1, size)));
  CheckText(**tokenizer, "the <s> foo\xE2\x96\x81 \xF0\x9F\x98\x80  \n");
  return 0;
}
