// Rows of 16-bit floats in the decode kernel's ring.
#pragma once

#include "worker/kernels/decode_loads.cuh"

namespace headlong::cuda {

// Blocks of rows of kHeadDim 16-bit floats.
template <int kHeadDim>
class PlainBlocks {
 public:
  static constexpr int kQuads = kHeadDim / 8;  // of 16 bytes in a row
  using Rows = SharedRows<kQuads>;
  static constexpr int kBytes = kBlock * Rows::kRowBytes;

  __device__ void Enter(const DecodeLane& lane) {
    pages_ = lane.pages + threadIdx.x % 32 * 16;
    page_stride_ = lane.page_stride;
    value_bytes_ = kHeadDim * 2 << lane.page_shift;
  }
  __device__ void Find(int page, int row) {
    from_ = pages_ + page * page_stride_ + row * (kHeadDim * 2);
  }
  __device__ void Copy(bool values, uint32_t live, uint32_t to, uint64_t policy) const {
    constexpr int kCopies = kBlock * kQuads / 32;  // of a thread
    const int thread = threadIdx.x % 32;
    const std::byte* from = values ? from_ + value_bytes_ : from_;
    if (live == kAllRows) {  // as a rule
#pragma unroll
      for (int i = 0; i < kCopies; ++i) {
        CopyQuad(Rows::Copied(to, i, thread), from + i * 512, policy);
      }
      return;
    }
#pragma unroll 1
    for (int i = 0; i < kCopies; ++i) {
      const bool is_live = (live >> (i * 32 + thread) / kQuads & 1) != 0;
      CopyQuadIf(is_live, Rows::Copied(to, i, thread), from + i * 512);
    }
  }

 private:
  const std::byte* pages_;
  int64_t page_stride_;
  int value_bytes_;  // from keys of a page to its values
  const std::byte* from_;
};

}  // namespace headlong::cuda
