// What the engine sees of the outside: a client's stream and a worker's stream, without a
// transport. Implemented by the gRPC services; called by the engine thread only; never block.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/delivery.h"
#include "headlong/v1/inference.pb.h"
#include "headlong/v1/worker.pb.h"
#include "model/tokenizer.h"

namespace headlong {

struct TokenLogprobs {
  float logprob = 0;
  std::vector<std::pair<TokenId, float>> top;
};

struct DeliveredToken {
  int64_t index = 0;
  TokenId token = 0;
  std::string text;
  std::optional<TokenLogprobs> logprobs;
};

struct FinishedRequest {
  FinishReason reason = FinishReason::kStop;
  std::string text;  // what was still held back
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cache_bytes = 0;
  int64_t full_cache_bytes = 0;
  double queue_ms = 0;
  double prefill_ms = 0;
  double decode_ms = 0;
  double total_ms = 0;
  std::optional<v1::ProbeResult> probe;
};

class ClientPort {
 public:
  virtual ~ClientPort() = default;
  virtual void Accepted(int64_t prompt_tokens, uint64_t seed) = 0;
  virtual void Progress(int64_t prefilled, int64_t prompt_tokens) = 0;
  virtual void Token(const DeliveredToken& token) = 0;
  // One of these two is last.
  virtual void Finished(const FinishedRequest& finished) = 0;
  virtual void Failed(const absl::Status& status) = 0;
};

class WorkerPort {
 public:
  virtual ~WorkerPort() = default;
  virtual void Send(const v1::WorkerCommand& command) = 0;
  // Ends the stream: the worker learns `status`; one that does not listen is cut off.
  virtual void Close(const absl::Status& status) = 0;
};

}  // namespace headlong
