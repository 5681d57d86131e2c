// Which files of a model folder make its tokenizer, and what tokenizer_config.json adds to those
// that do not say everything themselves. Internal to the tokenizer's sources. Stateless.
#pragma once

#include <filesystem>

#include "absl/status/statusor.h"
#include "common/json.h"

namespace headlong {

// The added_tokens of a document: those of tokenizer_config.json's added_tokens_decoder and, where
// it says nothing of their ids, `tokens`. `config` may be null.
Json MergeAddedTokens(Json tokens, const Json& config);

// The tokenizer.json that stands for a vocab.json and merges.txt. Their class is tokenizer_class of
// tokenizer_config.json, else model_type of config.json: neither file says how a text is cut into
// words.
absl::StatusOr<Json> DocumentFromVocabAndMerges(const std::filesystem::path& folder);

}  // namespace headlong
