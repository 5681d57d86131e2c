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

  __device__ PlainBlocks() : thread_(ThreadOfWarp()), first_(Rows::CopiedFirst(thread_)) {}

  __device__ bool Enter(const DecodeLane& lane) {
    pages_ = lane.pages + thread_ * 16;
    page_stride_ = lane.page_stride;
    value_bytes_ = kHeadDim * 2 << lane.page_shift;
    return true;
  }
  __device__ void Find(int page, int row) {
    from_ = pages_ + page * page_stride_ + row * (kHeadDim * 2);
  }
  __device__ void CopyWhole(bool values, uint32_t to, uint64_t policy) const {
    const std::byte* from = values ? from_ + value_bytes_ : from_;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      CopyQuad(Rows::Copied(to, first_, i, thread_), from + i * 512, policy);
    }
  }
  __device__ void CopyPart(const DecodeLane& /*lane*/, bool values, uint32_t live, uint32_t to,
                           uint64_t /*policy*/) const {
    const std::byte* from = values ? from_ + value_bytes_ : from_;
#pragma unroll 1
    for (int i = 0; i < kCopies; ++i) {
      const bool is_live = (live >> (i * 32 + thread_) / kQuads & 1) != 0;
      CopyQuadIf(is_live, Rows::Copied(to, first_, i, thread_), from + i * 512);
    }
  }

 private:
  static constexpr int kCopies = kBlock * kQuads / 32;  // of a thread

  const uint32_t thread_, first_;
  const std::byte* pages_;
  int64_t page_stride_;
  int value_bytes_;  // from keys of a page to its values
  const std::byte* from_;
};

}  // namespace headlong::cuda
