// Second moments of what heads make of a prompt, on a GPU. CPU twin: worker/spectra_cpu.h.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace headlong::cuda {

// Rows of one layer, before rotary embedding. All pointers are device memory.
struct MomentRows {
  const float* qkv = nullptr;      // [rows][q of heads | k | v]
  const float* cos_sin = nullptr;  // [rows][2][head_dim / 2]
  int32_t rows = 0, heads = 0, group = 1;
  int32_t head_dim = 0;   // at most 256
  float* sums = nullptr;  // [heads][q, k, v][head_dim][head_dim]: the lower triangles are written
};

// sums = of each x its x x^T, added up in the order of the rows; queries and keys after rotary
// embedding. In fp32: for some thousand vectors. Operations: head_dim^2 a vector.
cudaError_t LaunchMoments(const MomentRows& rows, cudaStream_t stream);

}  // namespace headlong::cuda
