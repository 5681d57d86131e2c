#include "model/tokenizer.h"
#include "model/utf8.h"

namespace headlong {

StreamDecoder::StreamDecoder(const Tokenizer* tokenizer, bool mid_text)
    : tokenizer_(tokenizer), rules_(tokenizer->decode_rules()) {
  if (mid_text) rules_.strip_spaces = 0;
}

std::string StreamDecoder::Push(TokenId id) {
  pending_ += tokenizer_->TokenBytes(id);
  StripSpaces(&pending_, &rules_.strip_spaces);
  std::string text;
  DrainUtf8(&pending_, rules_.mark_each_byte, &text);
  return text;
}

std::string StreamDecoder::Flush() {
  std::string text = LossyUtf8(std::move(pending_), rules_.mark_each_byte);
  pending_.clear();
  return text;
}

}  // namespace headlong
