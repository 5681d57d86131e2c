// A tile of query rows, and copies into shared memory, for the prefill kernels of 16-bit caches.
#pragma once

#include <type_traits>

#include "worker/kernels/append_lane.cuh"
#include "worker/kernels/decode_element.cuh"
#include "worker/kernels/exponentials.cuh"
#include "worker/kernels/prefill_cuda.h"

namespace headlong::cuda {

// Whether caches of such numbers have lanes that are not plain, too: their rows become bf16
// (prefill_widen.cuh).
template <typename Element>
constexpr bool kWidens = std::is_same_v<Element, Bfloat16Element>;

// 16 bytes into shared memory.
__device__ inline void CopyAsync(uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(from)
               : "memory");
}
// Those, or zeros.
__device__ inline void CopyAsyncIf(bool live, uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(live ? 16 : 0)
               : "memory");
}
__device__ inline void WaitForCopies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// A tile's queries: rows of (position, query head).
struct Queries {
  int first;  // position of row 0
  int rows;   // valid ones
  int group;
  int64_t row;     // of q and out: where row 0 is
  int64_t stride;  // rows of q and out from a position to the next
  int inverse;     // 2^16 / group, rounded up

  // r / group: exact for the rows of a tile and groups up to 16.
  __device__ int Index(int r) const { return r * inverse >> 16; }
  __device__ int Position(int r) const { return first + Index(min(r, rows - 1)); }
  __device__ int last() const { return Position(rows - 1); }
  __device__ int64_t Row(int r) const {
    const int index = Index(r);
    return row + index * stride + (r - index * group);
  }
};

__device__ inline Queries QueriesOf(const LayerLanes& lanes, const Lane& lane,
                                    const PrefillTile& tile, int head, int tile_rows) {
  const ChunkLanes& chunk = lane.chunk;
  const int group = lanes.shape.group, first = chunk.position + tile.first;
  const int positions = min(tile_rows / group, chunk.end - first);
  const int64_t stride = int64_t{lanes.heads} * group;
  return {first,  positions * group,
          group,  (chunk.first_row + tile.first) * stride + head * group,
          stride, (0xffff + group) / group};
}

}  // namespace headlong::cuda
