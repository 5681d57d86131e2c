// One Generate call from start to end, and its result as the JSON that scripts read. No thread of
// its own: RunGeneration blocks the caller.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/client.h"
#include "cli/json_output.h"

namespace headlong {

struct GenerationResult {
  std::string id;
  std::string text;
  std::vector<uint32_t> token_ids;
  std::vector<v1::TokenLogprobs> logprobs;  // empty unless asked for
  std::optional<v1::Finished> finished;     // absent when the call failed
  uint32_t prompt_tokens = 0;
  uint64_t seed = 0;   // the server's choice where none was given
  absl::Status error;  // of the call

  bool ok() const;
  // "stop" | "length" | "cancelled" | "error"
  std::string finish_reason() const;
  // Why it is not ok(): the call's error, or that it was cancelled or failed on the server.
  absl::Status failure() const;
};

struct GenerationEvents {
  std::function<void(const v1::Accepted&)> accepted;
  std::function<void(const v1::Progress&)> progress;
  std::function<void(std::string_view text)> text;
};

// `deadline`: none when zero.
GenerationResult RunGeneration(Client& client, const v1::GenerateRequest& request,
                               const GenerationEvents& events, std::chrono::milliseconds deadline);

// DESIGN section 12, `generate`. Fields that a failed call does not have are left out.
OutputJson GenerationJson(const GenerationResult& result);

}  // namespace headlong
