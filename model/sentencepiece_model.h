// A SentencePiece .model (BPE with byte fallback) as a tokenizer. What it merges and how it treats
// spaces becomes a TokenizerSpec, so that added tokens, streams and speed are those of every other
// tokenizer. Stateless.
#pragma once

#include <string>

#include "common/json.h"
#include "model/tokenizer_spec.h"

namespace headlong {

// `file_bytes` is the content of the file. `config` is the tokenizer_config.json beside it, or
// null: add_bos_token, add_eos_token, legacy, add_prefix_space and added_tokens_decoder are read.
// Control pieces are added tokens as in Hugging Face's conversion; the unknown piece is sought in a
// text only if added_tokens_decoder has it. INVALID_ARGUMENT for what is no model; UNIMPLEMENTED
// names the field of sentencepiece.proto or of the configuration.
absl::StatusOr<TokenizerSpec> SpecFromSentencePiece(const std::string& file_bytes,
                                                    const Json& config);

}  // namespace headlong
