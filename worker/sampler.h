// From logits to a token: pure, on the leader's CPU. Order of operations as in vLLM: temperature,
// top-k, top-p, min-p. Ties go to the lowest id. Its twin on a GPU, kernels/sample_cuda.h, gives
// the same tokens; kernels/token_draw.h says which.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "headlong/v1/worker.pb.h"
#include "worker/kernels/token_draw.h"

namespace headlong {

// `position` is that of the token to be drawn.
TokenDraw DrawOf(const v1::SamplingParams& params, int64_t position);

// Nothing but the token of the largest logit is wanted: no draw, no logprobs.
bool IsGreedy(const v1::SamplingParams& params);

struct SampledToken {
  uint32_t token = 0;
  float logprob = 0;  // of the model's own distribution, before everything
  std::vector<std::pair<uint32_t, float>> top;  // best first; params.logprobs() entries
};

// `logits`: [vocab], finite or -inf. The same arguments give the same token.
uint32_t DrawToken(std::span<const float> logits, const TokenDraw& draw);

// A token with its logprobs where they are wanted.
SampledToken SampleToken(std::span<const float> logits, const v1::SamplingParams& params,
                         int64_t position);

}  // namespace headlong
