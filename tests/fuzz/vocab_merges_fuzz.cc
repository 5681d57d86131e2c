// Any bytes as the files of a folder without tokenizer.json: vocab.json, merges.txt,
// tokenizer_config.json, added_tokens.json, config.json and a text, NULs between them. A status
// comes back, and what is accepted encodes and decodes the text.
#include <cstddef>
#include <cstdint>

#include "model/tokenizer_files.h"
#include "model/tokenizer_json.h"
#include "tests/fuzz/split.h"
#include "tests/fuzz/tokenizer_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto texts = headlong::SplitTexts<6>(data, size);
  headlong::VocabFiles files;
  const std::pair<headlong::Json*, const std::string*> objects[] = {
      {&files.vocab, &texts[0]},
      {&files.tokenizer_config, &texts[2]},
      {&files.added_tokens, &texts[3]},
      {&files.model_config, &texts[4]}};
  for (const auto& [json, text] : objects) {
    auto parsed = headlong::ParseJson(*text, "fuzz");
    if (parsed.ok() && parsed->is_object()) *json = *std::move(parsed);  // else: not there
  }
  files.merges = texts[1];
  const auto document = headlong::DocumentFromVocabAndMerges(std::move(files));
  if (!document.ok()) {
    headlong::Require(!document.status().message().empty());
    return 0;
  }
  headlong::CheckTokenizer(headlong::TokenizerSpecFromJson(*document), texts[5]);
  return 0;
}
