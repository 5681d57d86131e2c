// Rows of lanes that are not plain, as plain rows in bf16: codes are widened once for all query
// rows of a prompt's chunk, whose attention then runs as over plain lanes.
#pragma once

#include <cuda_runtime_api.h>

#include "worker/kernels/append_cuda.h"

namespace headlong::cuda {

struct WidenLanes {
  LayerLanes lanes;                       // as they are stored
  const ChunkLanes* to_chunks = nullptr;  // [chunk][class]: of those that are widened, where to
  FreshRows to;                           // [head from first_head on][K|V][capacity][head_dim]
  int chunk_count = 0;
  int most_rows = 0;  // of a lane
  int head_end = 0;   // heads from to.first_head to this one

  static constexpr int kRows = 64;  // of a block of threads
  __host__ __device__ int blocks() const { return (most_rows + kRows - 1) / kRows; }
};

// Positions from fresh_begin to the chunk's end. Code times scale is rounded once. Bytes: the
// codes, and 4 * head_dim written per position and head; some 0.1 of 1.8 ms of a chunk's attention.
// REQUIRES: LaunchStore of the same lanes went before; head_dim a multiple of 16.
cudaError_t LaunchWiden(const WidenLanes& widen, cudaStream_t stream);

}  // namespace headlong::cuda
