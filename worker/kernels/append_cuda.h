// What surrounds attention in a layer on a GPU: new keys and values rotated, rounded and put into
// the caches, and what leaves a window added to the running sums. Twins: op_cpu.h,
// cache/lane_cpu.h.
//
// Order in a layer, which keeps every read of a local lane before the first write to any (pages
// that leave one lane may be another's at once): LaunchStore, LaunchFold, LaunchWiden,
// attention of chunks, LaunchKeep, attention of decode rows.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "worker/kernels/append_plan.h"
#include "worker/kernels/decode_cuda.h"

namespace headlong::cuda {

// New keys and values in the formats of their lanes, with plain rows of first tokens where lanes
// have such: [head][K|V|plain K|plain V][capacity].
struct FreshRows {
  std::byte* memory = nullptr;
  int64_t head_bytes = 0;     // a multiple of 16
  int32_t capacity = 0;       // a multiple of 8
  int32_t first_head = 0;     // of those that there are rows of
  const void* map = nullptr;  // of plain ones, for copies of many (copy_map.h); null: none
};

// The lanes of one layer in one batch.
struct LayerLanes {
  DecodeShape shape;
  int32_t heads = 0;
  int32_t class_count = 0;
  int32_t window = 0;                    // of the model in this layer, 0: none
  const HeadPlace* places = nullptr;     // [heads]
  const DeviceClass* classes = nullptr;  // [class_count]
  const ChunkLanes* chunks = nullptr;    // [chunk][class_count]
  const int32_t* page_ids = nullptr;
  FreshRows batch;          // row = row of the batch
  FreshRows prompt;         // of an exact prefill: row = position
  float* tokens = nullptr;  // [head][token_capacity][2 * head_dim] sums after so many blocks
  int32_t token_capacity = 0;
};

// cos_sin[r] = {cos(p f_0).., sin(p f_0)..} * scale for p = positions[r]: [rows][2][half].
struct RopeTable {
  const int32_t* positions = nullptr;
  const float* inverse_frequencies = nullptr;  // [half]
  float scale = 1;
  int32_t rows = 0, half = 0;
  float* cos_sin = nullptr;
};
cudaError_t LaunchRopeTable(const RopeTable& table, cudaStream_t stream);

// Rotates q and k and rounds all three, k and v to what their lanes store. q goes to `q`, k and v
// of full lanes to their pages, of local lanes to the fresh rows; plain rows of first tokens
// likewise. Bytes: rows * heads * (group + 2) * head_dim * (4 + element).
struct StoreRows {
  const float* qkv = nullptr;      // [rows][q of heads | k | v]
  const float* cos_sin = nullptr;  // [rows][2][head_dim / 2]
  const int32_t* positions = nullptr;
  const int32_t* row_chunks = nullptr;  // [rows], kNoChunk: nothing is stored
  int32_t rows = 0;
  void* q = nullptr;     // [rows][heads * group][head_dim]
  bool rotated = false;  // queries and keys already are
};
cudaError_t LaunchStore(const LayerLanes& lanes, const StoreRows& rows, cudaStream_t stream);

// Adds what leaves to the running sums, block by block in position order. tokens[0] of a chunk is
// the sum before it, tokens[i] that after its first i blocks.
struct FoldJobs {
  const BlockJob* blocks = nullptr;
  int32_t block_count = 0;
  const int32_t* chunks = nullptr;  // chunks whose tokens are made, or kNoChunk
  int32_t chunk_count = 0;
};
cudaError_t LaunchFold(const LayerLanes& lanes, const FoldJobs& jobs, cudaStream_t stream);

// Copies those fresh rows of local lanes that are kept to their pages.
cudaError_t LaunchKeep(const LayerLanes& lanes, const BlockJob* jobs, int count,
                       cudaStream_t stream);

}  // namespace headlong::cuda
