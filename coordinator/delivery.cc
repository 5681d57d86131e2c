#include "coordinator/delivery.h"

#include <algorithm>

namespace headlong {

const char* FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "stop";
}

void Delivery::Prime(std::span<const TokenId> tokens) {
  for (const TokenId token : tokens) {
    if (finished_) return;
    Push(token);
  }
}

std::string Delivery::Push(TokenId token) {
  ++count_;
  std::string sendable;
  if (std::find(rules_.eos_ids.begin(), rules_.eos_ids.end(), token) != rules_.eos_ids.end()) {
    finished_ = FinishReason::kStop;  // the EOS counts as a token and has no text
  } else {
    sendable = stops_.Push(decoder_.Push(token));
    if (stops_.stopped()) finished_ = FinishReason::kStop;
  }
  if (!finished_ && count_ >= rules_.max_tokens) finished_ = FinishReason::kLength;
  return sendable;
}

std::string Delivery::Flush() {
  if (stops_.stopped()) return {};
  std::string text = stops_.Push(decoder_.Flush());
  return text + stops_.Flush();
}

}  // namespace headlong
