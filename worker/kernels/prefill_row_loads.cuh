// Tiles of plain keys or values, row by row: how the loading warpgroup of the wgmma prefill kernel
// brings in what is not whole pages.
#pragma once

#include "worker/kernels/prefill_keys.cuh"
#include "worker/kernels/prefill_slots.cuh"

namespace headlong::cuda {

__device__ inline int LoadingThread() { return static_cast<int>(threadIdx.x) % kGroupThreads; }

// Each warp copies its own blocks of 16 rows.
template <int kDim>
class RowLoads {
 public:
  using Place = WgmmaLayout<kDim>;
  static constexpr int kBlocks = Place::kKeys / kBlockRows;

  // What of the lane every tile needs stays in registers.
  __device__ RowLoads(const Lane& lane, const KeyRange& range)
      : lane_(lane),
        range_(range),
        key_bytes_(lane.lane_class.key_bytes),
        page_stride_(lane.lane_class.page_stride),
        row_mask_((1 << lane.lane_class.page_shift) - 1),
        fresh_begin_(lane.chunk.fresh_begin),
        fresh_keys_(lane.Fresh(false, 0).codes),
        fresh_values_(lane.Fresh(true, 0).codes),
        thread_to_(Swizzled<Place::kKeys>(threadIdx.x % 32 / Place::kQuads,
                                          threadIdx.x % 32 % Place::kQuads)),
        thread_from_(static_cast<int>(threadIdx.x) % 32 * 16) {}

  // Of the keys from `first` on, to where a tile is. pages: in thread b of each warp, the page of
  // the keys from first + 16 b on. Copies are only started.
  __device__ void Copy(int first, bool value, uint32_t tile, int pages) const {
    const std::byte* const in_pages = lane_.pages + (value ? key_bytes_ : 0);
    const std::byte* const fresh_rows = value ? fresh_values_ : fresh_keys_;
#pragma unroll
    for (int i = 0; i < kBlocks; i += kWarps) {
      const int block = i + LoadingThread() / 32, key = first + block * kBlockRows;
      const int p = range_.Position(key);
      const std::byte* page = in_pages + __shfl_sync(~0u, pages, block) * page_stride_ +
                              (p & row_mask_) * kRowBytes + thread_from_;
      const std::byte* fresh = fresh_rows + int64_t{p} * kRowBytes + thread_from_;
      const uint32_t to = tile + block * kBlockRows * kSwizzleBytes + thread_to_;
      const bool is_fresh = p >= fresh_begin_;
      // All of it is there, and all in a page or all fresh: nothing to ask per row.
      const bool there = key >= range_.sink_blocks && key + kBlockRows <= range_.stored;
      if (there && (is_fresh || p + kBlockRows <= fresh_begin_)) {
        CopyBlock(to, is_fresh ? fresh : page);
      } else {
        CopyRows(to, key, page, fresh);
      }
    }
  }

 private:
  static constexpr int kWarps = kGroupThreads / 32;
  static constexpr int kRowBytes = kDim * 2;
  static constexpr int kPass = 32 / Place::kQuads;  // rows at a time

  // 16 rows that follow each other, this thread's part: its places are constants apart.
  __device__ static void CopyBlock(uint32_t to, const std::byte* from) {
#pragma unroll
    for (int i = 0; i < kBlockRows; i += kPass) {
      CopyAsync((to + i * kSwizzleBytes) ^ (i % 8 * 16), from + i * kRowBytes);
    }
  }

  // 16 rows of which some are dead, and become zeros, or in a page and some fresh.
  __device__ void CopyRows(uint32_t to, int first, const std::byte* page,
                           const std::byte* fresh) const {
#pragma unroll 1
    for (int i = 0; i < kBlockRows; i += kPass) {
      const int key = first + i + static_cast<int>(threadIdx.x) % 32 / Place::kQuads;
      const bool live = range_.Live(key), is_fresh = range_.Position(key) >= fresh_begin_;
      const std::byte* from = (is_fresh ? fresh : page) + i * kRowBytes;
      if (!live) from = lane_.pages;  // nothing is read
      CopyAsyncIf(live, (to + i * kSwizzleBytes) ^ (i % 8 * 16), from);
    }
  }

  const Lane& lane_;
  const KeyRange& range_;
  const int64_t key_bytes_, page_stride_;
  const int row_mask_;
  const int fresh_begin_;
  const std::byte *const fresh_keys_, *const fresh_values_;
  const uint32_t thread_to_;  // this thread's 16 bytes of the first rows, in a block of a tile
  const int thread_from_;     // and in rows that follow each other
};

}  // namespace headlong::cuda
