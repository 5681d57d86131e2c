// Any bytes as a SentencePiece .model, beside a tokenizer_config.json that the first byte chooses:
// a status comes back, and what is accepted encodes and decodes a text of its own pieces.
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>

#include "common/json.h"
#include "model/sentencepiece_model.h"
#include "tests/fuzz/tokenizer_check.h"

namespace {

constexpr const char* kConfigs[] = {
    "null", R"({"legacy": false, "add_bos_token": false, "add_eos_token": true})",
    R"({"add_prefix_space": false, "added_tokens_decoder":
        {"0": {"content": "<unk>", "special": true}, "5": {"content": "<x>", "lstrip": true}}})",
    R"({"add_prefix_space": true, "added_tokens_decoder": {"270": {"content": "th"}}})"};

constexpr size_t kMaxTextBytes = 4096;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const char* config = kConfigs[data[0] % std::size(kConfigs)];
  const std::string model(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto spec =
      headlong::SpecFromSentencePiece(model, headlong::ParseJson(config, "fuzz").value());
  std::string text;
  if (spec.ok()) {
    for (const auto& token : spec->model.vocab) {
      if (text.size() < kMaxTextBytes) text += token.text + ' ';
    }
  }
  headlong::CheckTokenizer(spec, text);
  return 0;
}
