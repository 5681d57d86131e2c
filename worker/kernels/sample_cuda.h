// Draws a token of each row of logits on a GPU: the twin of DrawToken (worker/sampler.h), to the
// bit. Rows with different parameters are one launch. Calls enqueue and return.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "worker/kernels/token_draw.h"

namespace headlong::cuda {

inline constexpr int kMostParts = 64;
// What the shared memory of a cluster of blocks holds. 0: this GPU has none.
int MostSampledColumns();

// A row is in parts, as the workers computed them. Bytes: rows * columns * 4, read once; everything
// after that is done in shared memory.
struct SampleTokensCall {
  const float* logits = nullptr;  // part by part [rows][columns of the part]
  // Of each part, then the columns of a row: at most MostSampledColumns(), at least 1.
  int32_t first_columns[kMostParts + 1] = {};
  int parts = 1;
  int rows = 0;
  const TokenDraw* draws = nullptr;  // device, [rows]
  float* out = nullptr;              // [rows]: tokens
};
void SampleTokens(const SampleTokensCall& call, cudaStream_t stream);

}  // namespace headlong::cuda
