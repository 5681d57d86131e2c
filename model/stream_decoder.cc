#include "model/tokenizer.h"
#include "model/utf8.h"

namespace headlong {

std::string StreamDecoder::Push(TokenId id) {
  pending_ += tokenizer_->TokenBytes(id);
  std::string text;
  DrainUtf8(&pending_, &text);
  return text;
}

std::string StreamDecoder::Flush() {
  std::string text = LossyUtf8(std::move(pending_));
  pending_.clear();
  return text;
}

}  // namespace headlong
