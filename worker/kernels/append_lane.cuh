// Where a lane's rows are and what a query sees of them, on the device: ChunkLanes read as the
// definition of a local head reads (DESIGN: "What a local head sees").
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

// One head's lane in one chunk.
struct Lane {
  const ChunkLanes& chunk;
  const DeviceClass& lane_class;
  std::byte* pages;    // its part of page 0
  std::byte* fresh;    // its key of position 0, were that among the fresh rows
  int64_t fresh_half;  // bytes from a fresh key to its value
  const int32_t* page_ids;
  int row_bytes;

  __device__ std::byte* InPage(const PageList& list, int position) const {
    int number = position >> lane_class.page_shift;
    if (chunk.stripes > 1) number = OwnedPages(chunk, number);
    const int place =
        number < list.sink_pages ? number : number - list.first_window_page + list.sink_pages;
    const int row = position & ((1 << lane_class.page_shift) - 1);
    return pages + page_ids[list.begin + place] * lane_class.page_stride + row * row_bytes;
  }
  __device__ bool Owns(int position) const {
    return chunk.stripes == 1 || OwnsPage(chunk, position >> lane_class.page_shift);
  }
  __device__ std::byte* Fresh(int position) const { return fresh + int64_t{position} * row_bytes; }
};

__device__ inline Lane LaneOf(const LayerLanes& lanes, int chunk_index, int head) {
  const HeadPlace place = lanes.places[head];
  const ChunkLanes& chunk = lanes.chunks[chunk_index * lanes.class_count + place.lane_class];
  const DeviceClass& lane_class = lanes.classes[place.lane_class];
  const int row_bytes = lanes.shape.head_dim * (lanes.shape.type == ElementType::kFloat32 ? 4 : 2);
  std::byte* const memory = chunk.exact ? lanes.prompt.memory : lanes.batch.memory;
  const int64_t capacity = chunk.exact ? lanes.prompt.capacity : lanes.batch.capacity;
  const int64_t half = capacity * row_bytes;
  const int64_t first = chunk.exact ? 0 : chunk.first_row - chunk.position;
  return {.chunk = chunk,
          .lane_class = lane_class,
          .pages = lane_class.pages + place.lane * 2 * lane_class.half_bytes,
          .fresh = memory + 2 * head * half + first * row_bytes,
          .fresh_half = half,
          .page_ids = lanes.page_ids,
          .row_bytes = row_bytes};
}

// Sums of a chunk's lane after its first `blocks` blocks have left: [K|V][head_dim].
__device__ inline float* TokenOf(const LayerLanes& lanes, const ChunkLanes& chunk, int head,
                                 int blocks) {
  const int64_t entry = int64_t{head} * lanes.token_capacity + chunk.token_begin + blocks;
  return lanes.tokens + entry * 2 * lanes.shape.head_dim;
}

}  // namespace headlong::cuda
