// Which files of a model folder make its tokenizer, and what tokenizer_config.json adds to those
// that do not say everything themselves. Internal to the tokenizer's sources. Stateless.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/json.h"

namespace headlong {

// The added_tokens of a document: those of tokenizer_config.json's added_tokens_decoder and, where
// it says nothing of their ids, `tokens`. `config` may be null.
Json MergeAddedTokens(Json tokens, const Json& config);

// A folder without tokenizer.json: vocab.json with merges.txt (or encoder.json with vocab.bpe) and
// the files beside them, null where one is not there. Those beside them are objects if they are.
struct VocabFiles {
  Json vocab;
  std::string merges;
  Json tokenizer_config;
  Json added_tokens;  // added_tokens.json of older folders
  Json model_config;  // config.json
};

// The tokenizer.json that stands for the files. Their class is tokenizer_class of
// tokenizer_config.json, else model_type of config.json: neither file says how a text is cut into
// words.
absl::StatusOr<Json> DocumentFromVocabAndMerges(VocabFiles files);

}  // namespace headlong
