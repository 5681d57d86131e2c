// Which positions a query sees, and which of them are in this worker's pages, on the device:
// ChunkLanes read as the definition of a local head reads (DESIGN: "What a local head sees").
#pragma once

#include "worker/kernels/append_cuda.h"

namespace headlong::cuda {

inline constexpr int kBlockRows = 16;  // of a block that leaves, and the fewest of a page

// lo(m). 0 where everything is seen.
__device__ inline int WindowBegin(const ChunkLanes& chunk, int m) {
  return max(chunk.sinks, (m + 1 - chunk.window) / chunk.block_tokens * chunk.block_tokens);
}

// ---- stripes (cache/stripes.h) ----

__device__ inline bool OwnsPage(const ChunkLanes& chunk, int page) {
  const int stripe = page % chunk.stripes - chunk.first_stripe;
  return stripe >= 0 && stripe < chunk.own_stripes;
}
// How many of pages [0, pages) are this worker's.
__device__ inline int OwnedPages(const ChunkLanes& chunk, int pages) {
  const int part = min(max(pages % chunk.stripes - chunk.first_stripe, 0), chunk.own_stripes);
  return pages / chunk.stripes * chunk.own_stripes + part;
}
// How many of positions [0, end) are in its pages, each of 1 << shift.
__device__ inline int OwnedKeys(const ChunkLanes& chunk, int end, int shift) {
  const int page = end >> shift;
  const int rest = OwnsPage(chunk, page) ? end & ((1 << shift) - 1) : 0;
  return (OwnedPages(chunk, page) << shift) + rest;
}
// The position of the key-th of them.
__device__ inline int OwnedPosition(const ChunkLanes& chunk, int key, int shift) {
  const int owned = key >> shift;
  const int page =
      owned / chunk.own_stripes * chunk.stripes + chunk.first_stripe + owned % chunk.own_stripes;
  return (page << shift) + (key & ((1 << shift) - 1));
}

}  // namespace headlong::cuda
