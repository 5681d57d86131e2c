// Tiles of plain keys or values, row by row: how the loading warpgroup of the wgmma prefill kernel
// brings in what is not whole pages.
#pragma once

#include "worker/kernels/prefill_keys.cuh"
#include "worker/kernels/prefill_slots.cuh"

namespace headlong::cuda {

__device__ inline int LoadingThread() { return static_cast<int>(threadIdx.x) % kGroupThreads; }

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
        thread_to_(Swizzled<Place::kKeys>(LoadingThread() / Place::kQuads,
                                          LoadingThread() % Place::kQuads)),
        thread_from_(LoadingThread() * 16) {}

  // Of the keys from `first` on, to where a tile is. pages: in thread b of each warp, the page of
  // the keys from first + 16 b on. Copies are only started.
  __device__ void Copy(int first, bool value, uint32_t tile, int pages) const {
    const int last = first + Place::kKeys - 1, position = range_.Position(first);
    const std::byte* const in_pages = lane_.pages + (value ? key_bytes_ : 0);
    const uint32_t to = tile + thread_to_;
    if (IsThere(first, Place::kKeys) && range_.Position(last) < fresh_begin_) {
#pragma unroll
      for (int block = 0; block < kBlocks; ++block) {
        const int row = (position + block * kBlockRows) & row_mask_;
        const std::byte* page = in_pages + __shfl_sync(~0u, pages, block) * page_stride_;
        CopyBlock(to + block * kBlockBytes, page + row * kRowBytes + thread_from_);
      }
      return;
    }
#pragma unroll 1
    for (int block = 0; block < kBlocks; ++block) {
      const std::byte* page = in_pages + __shfl_sync(~0u, pages, block) * page_stride_;
      const int key = first + block * kBlockRows, p = range_.Position(key);
      page += (p & row_mask_) * kRowBytes + thread_from_;
      const std::byte* fresh = (value ? fresh_values_ : fresh_keys_) + int64_t{p} * kRowBytes;
      const bool is_fresh = p >= fresh_begin_;
      if (IsThere(key, kBlockRows) && (is_fresh || p + kBlockRows <= fresh_begin_)) {
        CopyBlock(to + block * kBlockBytes, is_fresh ? fresh + thread_from_ : page);
      } else {
        CopyRows(to + block * kBlockBytes, key, page, fresh + thread_from_);
      }
    }
  }

 private:
  static constexpr int kRowBytes = kDim * 2;
  static constexpr int kBlockBytes = kBlockRows * kSwizzleBytes;  // of a tile, 64 columns
  static constexpr int kPass = kGroupThreads / Place::kQuads;     // rows at a time

  // All of these keys have rows, none is dead.
  __device__ bool IsThere(int first, int count) const {
    return first >= range_.sink_blocks && first + count <= range_.stored;
  }

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
      const int key = first + i + LoadingThread() / Place::kQuads;
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
  const uint32_t thread_to_;  // this thread's 16 bytes of the first rows, in a tile
  const int thread_from_;     // and in rows that follow each other
};

}  // namespace headlong::cuda
