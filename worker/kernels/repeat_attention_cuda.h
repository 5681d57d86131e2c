// What rows of a prompt pay attention to, from their log-sum-exps and the keys that are asked
// about, on a GPU. CPU twin: worker/repeat_attention_cpu.h. Of full lanes that one worker holds
// whole; others are passed over.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "worker/kernels/append_cuda.h"

namespace headlong::cuda {

// As RepeatSums.
struct DeviceRepeatSums {
  double echo = 0, induction = 0, copied = 0;
};

// One chunk in one layer. All pointers are device memory.
struct ScoredChunk {
  LayerLanes lanes;
  int32_t chunk = 0;                 // index in lanes.chunks
  float scale = 1;                   // 1 / sqrt(head_dim) as a rule
  const void* q = nullptr;           // [rows][heads * group][head_dim], in the caches' type
  const float* lse = nullptr;        // [rows][heads * group]
  int64_t period = 0;                // at least 2
  int64_t first_row = 0;             // positions before it do not count
  DeviceRepeatSums* sums = nullptr;  // [heads * group], added to
};

// REQUIRES: attention of the layer went before. Bytes: a query and, of each earlier copy of its
// token, two keys, out of L2; the same sums, bit by bit, for the same numbers.
cudaError_t LaunchRepeatAttention(const ScoredChunk& scored, cudaStream_t stream);

// Counts the heads whose query at `row` has its largest weight at `position`, of equal ones the
// first. Bytes: all keys that the row sees, once for each query head.
cudaError_t LaunchCountCopy(const ScoredChunk& scored, int32_t row, int32_t position,
                            cudaStream_t stream);

}  // namespace headlong::cuda
