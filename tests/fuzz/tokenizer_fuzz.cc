// Any bytes as a tokenizer.json: a status comes back, and what is accepted encodes and decodes any
// text. What follows a NUL is the text.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/split.h"
#include "tests/fuzz/tokenizer_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto texts = headlong::SplitTexts<2>(data, size);
  headlong::CheckTokenizer(headlong::ParseTokenizerSpec(texts[0]), texts[1]);
  return 0;
}
