// A request as the engine knows it, whatever frontend it came through, and the door where what a
// client sent is checked. Pure values.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/caller.h"
#include "coordinator/clock.h"
#include "coordinator/send_times.h"
#include "headlong/v1/inference.pb.h"
#include "model/tokenizer.h"

namespace headlong {

inline constexpr int64_t kDefaultMaxTokens = 256;
inline constexpr int64_t kMaxLogprobs = 20;
inline constexpr size_t kMaxStopStrings = 16;
inline constexpr size_t kMaxStopBytes = 256;

// What a client asked for; absent fields take their defaults. The prompt is tokenized already.
struct RequestInput {
  std::string request_id;
  Caller caller;
  std::vector<TokenId> prompt;
  std::optional<int64_t> prompt_tokens;
  std::optional<int64_t> max_tokens;
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<int64_t> top_k;
  std::optional<float> min_p;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  std::optional<int64_t> logprobs;
  bool ignore_eos = false;
  std::vector<TokenId> resume;
  bool report_progress = false;
  std::optional<std::string> model;
  std::optional<v1::Probe> probe;
};

struct Sampling {
  float temperature = 1;  // 0: greedy
  float top_p = 1;
  int32_t top_k = 0;  // 0: all
  float min_p = 0;
  uint64_t seed = 0;
  std::optional<int> logprobs;  // alternatives beside the chosen token
  bool ignore_eos = false;
};

// Where a request came from, as far as its trace tells.
struct RequestOrigin {
  std::optional<TimePoint> received;
  std::string trace_id;                    // W3C's; empty: the caller has none
  std::shared_ptr<const SendTimes> sends;  // of its stream; null where nobody counts
};

struct Request {
  std::string id;
  Caller caller;
  RequestOrigin origin;
  std::vector<TokenId> tokens;         // the prompt, then what was generated: the token log
  int64_t prompt_length = 0;           // tokens[prompt_length] is the first generated one
  int64_t original_prompt_tokens = 0;  // N of `prefill: exact`
  int64_t max_tokens = 0;              // counts resumed tokens too
  Sampling sampling;
  std::vector<std::string> stop;
  bool report_progress = false;
  std::optional<v1::Probe> probe;

  int64_t generated() const { return static_cast<int64_t>(tokens.size()) - prompt_length; }
};

struct RequestLimits {
  std::string model_name;
  int64_t vocab_size = 0;
  int64_t max_context = 0;
  int max_sequences = 1;     // of the server: so many rows of a step can be probed,
  int max_batch_tokens = 1;  // which has at most so many
};

// What the server makes up when the client leaves it out.
struct FreshValues {
  std::string request_id;
  uint64_t seed = 0;
};

// INVALID_ARGUMENT names the field, its value and its range.
absl::StatusOr<Request> MakeRequest(RequestInput input, const RequestLimits& limits,
                                    const FreshValues& fresh);

}  // namespace headlong
