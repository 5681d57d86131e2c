// Coded rows in the decode kernel's ring.
#pragma once

#include "worker/kernels/decode_coded_block.cuh"

namespace headlong::cuda {

template <typename KeyBlock, typename ValueBlock>
class CodedBlocks {
 public:
  static constexpr int kBytes =
      KeyBlock::kBytes > ValueBlock::kBytes ? KeyBlock::kBytes : ValueBlock::kBytes;

  __device__ void Enter(const DecodeLane& lane) {
    pages_ = lane.pages;
    page_stride_ = lane.page_stride;
    page_shift_ = lane.page_shift;
    key_dims_ = lane.key_dims;
    value_dims_ = lane.value_dims;
    whole_ = KeyBlock::Chunks(key_dims_) == KeyBlock::kChunks &&
             ValueBlock::Chunks(value_dims_) == ValueBlock::kChunks;
    values_ = KeyBlock::PageRowBytes(key_dims_) << page_shift_;
  }
  __device__ void Find(int page, int row) {
    page_ = pages_ + page * page_stride_;
    row_ = row;
  }
  __device__ void Copy(bool values, uint32_t live, uint32_t to, uint64_t policy) const {
    if (values) {
      CopyOf<ValueBlock>(values_, value_dims_, live, to, policy);
    } else {
      CopyOf<KeyBlock>(0, key_dims_, live, to, policy);
    }
  }

 private:
  // rows: from the page to the lane's keys or values in it.
  template <typename Block>
  __device__ void CopyOf(uint32_t rows, int dims, uint32_t live, uint32_t to,
                         uint64_t policy) const {
    if (whole_ && live == kAllRows) {
      constexpr uint32_t kBytes = Block::kChunks * 16;
      const uint32_t quad = threadIdx.x % 32 * 16;
      const uint32_t codes = rows + row_ * kBytes + quad;
      const uint32_t scales = rows + (kBytes << page_shift_) + row_ * (Block::kScales * 2) + quad;
      Block::CopyWhole(page_ + codes, page_ + scales, to, policy);
    } else {
      const uint32_t bytes = Block::Chunks(dims) * 16;
      const uint32_t scales = rows + (bytes << page_shift_) + row_ * (Block::Scales(dims) * 2);
      Block::CopyPart(page_ + (rows + row_ * bytes), page_ + scales, dims, live, to, policy);
    }
  }

  const std::byte* pages_;
  int64_t page_stride_;
  int page_shift_, key_dims_, value_dims_;
  uint32_t values_;  // from a page to the lane's values in it
  bool whole_;       // rows have as many numbers as head_dim
  const std::byte* page_;
  uint32_t row_;
};

}  // namespace headlong::cuda
