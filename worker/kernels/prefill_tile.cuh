// A tile of query rows and the keys it walks, for the prefill kernels of bf16 caches.
#pragma once

#include "worker/kernels/append_lane.cuh"
#include "worker/kernels/prefill_cuda.h"

namespace headlong::cuda {

__device__ inline void CopyAsync(uint32_t to, const void* from, bool live) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(live ? 16 : 0)
               : "memory");
}
__device__ inline void WaitForCopies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

__device__ inline float Exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// A tile's queries: rows of (position, query head).
struct Queries {
  int first;  // position of row 0
  int rows;   // valid ones
  int group;
  int64_t row;     // of q and out: where row 0 is
  int64_t stride;  // rows of q and out from a position to the next

  __device__ int Position(int r) const { return first + min(r, rows - 1) / group; }
  __device__ int last() const { return Position(rows - 1); }
  __device__ int64_t Row(int r) const { return row + r / group * stride + r % group; }
};

__device__ inline Queries QueriesOf(const LayerLanes& lanes, const Lane& lane,
                                    const PrefillTile& tile, int tile_rows) {
  const ChunkLanes& chunk = lane.chunk;
  const int group = lanes.shape.group, first = chunk.position + tile.first;
  const int positions = min(tile_rows / group, chunk.end - first);
  const int64_t stride = int64_t{lanes.heads} * group;
  return {first, positions * group, group,
          (chunk.first_row + tile.first) * stride + blockIdx.x * group, stride};
}

// The keys that some row of a tile sees, numbered from 0: blocks of 16 with sinks, then those of
// the window. Of a lane that is split the keys are those of this worker's pages.
struct KeyRange {
  const ChunkLanes& chunk;
  static constexpr int kPageShift = 6;  // of lanes that are split: they are full ones

  int sink_end;            // keys [sink_end, sink_blocks) are dead
  int sink_blocks;         // in keys, a multiple of 16
  int shift;               // from a key of the window to its position
  int end;                 // keys in all
  int full_from, full_to;  // keys in [from, to) are seen by every row

  __device__ KeyRange(const ChunkLanes& the_chunk, const Queries& queries, int model_window)
      : chunk(the_chunk) {
    const int lo = WindowBegin(chunk, queries.first);
    const bool gap = lo > chunk.sinks;
    const int bound = model_window > 0 ? queries.first + 1 - model_window : 0;
    const int begin = max(gap ? lo : 0, bound) / kBlockRows * kBlockRows;
    sink_end = gap ? chunk.sinks : 0;
    sink_blocks = (sink_end + kBlockRows - 1) / kBlockRows * kBlockRows;
    shift = begin - sink_blocks;
    const int last = queries.last();
    end = last + 1 - shift;
    const int last_bound = model_window > 0 ? last + 1 - model_window : 0;
    const int last_lo = WindowBegin(chunk, last);
    full_from = max(last_lo > chunk.sinks ? max(last_lo, last_bound) : last_bound, begin) - shift;
    full_to = queries.first + 1 - shift;
    if (chunk.stripes == 1) return;
    shift = OwnedPages(chunk, max(bound, 0) >> kPageShift) << kPageShift;
    end = OwnedKeys(chunk, last + 1, kPageShift) - shift;
    full_from = OwnedKeys(chunk, max(last_bound, 0), kPageShift) - shift;
    full_to = OwnedKeys(chunk, queries.first + 1, kPageShift) - shift;
  }
  __device__ int Position(int key) const {
    if (chunk.stripes > 1) return OwnedPosition(chunk, key + shift, kPageShift);
    return key < sink_blocks ? key : key + shift;
  }
  __device__ bool Live(int key) const {
    return key < sink_end || (key >= sink_blocks && key < end);
  }
  // Where the 16 keys from `key` on are, if they are in a page: the first one of rows of so many
  // bytes, or with 0 of those the lane's part of the page.
  template <int kRowBytes>
  __device__ const std::byte* Block(const Lane& lane, int key) const {
    const int p = Position(key);
    if (key >= end || p >= lane.chunk.fresh_begin) return nullptr;
    const int row = p & ((1 << lane.lane_class.page_shift) - 1);
    return lane.Page(lane.chunk.read, p) + row * kRowBytes;
  }
};

}  // namespace headlong::cuda
