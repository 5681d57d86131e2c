// What every accepted tokenizer does with every text, for the fuzz targets that read tokenizers.
// Stateless.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "model/tokenizer_spec.h"
#include "model/utf8.h"
#include "tests/fuzz/require.h"

namespace headlong {

// A refusal has a message. What is accepted builds, encodes `text` to ids of the vocabulary, and
// decodes them to UTF-8 that the stream of the same ids gives, too.
inline void CheckTokenizer(const absl::StatusOr<TokenizerSpec>& spec, const std::string& text) {
  if (!spec.ok()) {
    Require(!spec.status().message().empty());
    return;
  }
  const auto tokenizer = BuildTokenizer(*spec);
  Require(tokenizer.ok());
  for (const std::string& each :
       {text, std::string("the <s> foo\xE2\x96\x81 \xF0\x9F\x98\x80 \n")}) {
    const auto ids = (*tokenizer)->Encode(each, /*add_special_tokens=*/true);
    if (!ids.ok()) continue;  // not UTF-8, or a pattern that backtracks too far
    for (const TokenId id : *ids) Require(id < static_cast<TokenId>((*tokenizer)->vocab_size()));
    const auto decoded = (*tokenizer)->Decode(*ids, /*keep_special_tokens=*/false);
    Require(decoded.ok() && ValidUtf8Prefix(*decoded) == decoded->size());
    StreamDecoder decoder(tokenizer->get());
    std::string streamed;
    for (const TokenId id : *ids) streamed += decoder.Push(id);
    streamed += decoder.Flush();
    Require(streamed == *decoded);
  }
}

}  // namespace headlong
