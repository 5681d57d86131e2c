// From logits to a token: pure, on the leader. Order of operations as in vLLM: temperature,
// top-k, top-p, min-p, one draw. Ties go to the lowest id.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "headlong/v1/worker.pb.h"

namespace headlong {

// Nothing but the token of the largest logit is wanted: no draw, no logprobs.
bool IsGreedy(const v1::SamplingParams& params);

struct SampledToken {
  uint32_t token = 0;
  float logprob = 0;  // of the model's own distribution, before everything
  std::vector<std::pair<uint32_t, float>> top;  // best first; params.logprobs() entries
};

// `logits`: [vocab], finite or -inf. `position` is that of the sampled token. The same arguments
// give the same token.
SampledToken SampleToken(std::span<const float> logits, const v1::SamplingParams& params,
                         int64_t position);

}  // namespace headlong
