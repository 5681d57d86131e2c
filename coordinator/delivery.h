// From sampled tokens to what a client may see of one request: whole characters, stop strings cut
// out, and the reason to end. Pure but for the tokenizer; one owner.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "coordinator/stop_matcher.h"
#include "model/tokenizer.h"

namespace headlong {

enum class FinishReason { kStop, kLength, kCancelled };
const char* FinishReasonName(FinishReason reason);  // "stop" | "length" | "cancelled"

struct DeliveryRules {
  std::vector<TokenId> eos_ids;  // empty under ignore_eos
  std::vector<std::string> stop;
  int64_t max_tokens = 0;
  bool mid_text = false;  // the prompt has text: a space that begins the answer belongs to it
};

class Delivery {
 public:
  Delivery(const Tokenizer* tokenizer, DeliveryRules rules)
      : rules_(std::move(rules)), decoder_(tokenizer, rules_.mid_text), stops_(rules_.stop) {}

  // Tokens that the client already has: they count, their text is not given again.
  void Prime(std::span<const TokenId> tokens);

  // Text that `token` makes sendable. finished() tells whether it was the last one.
  // REQUIRES: not finished.
  std::string Push(TokenId token);
  std::optional<FinishReason> finished() const { return finished_; }
  // What is still held back when the stream ends.
  std::string Flush();

 private:
  const DeliveryRules rules_;
  StreamDecoder decoder_;
  StopMatcher stops_;
  int64_t count_ = 0;
  std::optional<FinishReason> finished_;
};

}  // namespace headlong
