// Rows of any stored types in the decode kernel's ring. Those that a rank shortens by a chunk are
// copied chunk by chunk, with zeros in its place.
#pragma once

#include "worker/kernels/decode_stored_block.cuh"

namespace headlong::cuda {

template <typename KeyBlock, typename ValueBlock>
class StoredBlocks {
 public:
  static constexpr int kBytes =
      KeyBlock::kBytes > ValueBlock::kBytes ? KeyBlock::kBytes : ValueBlock::kBytes;

  __device__ StoredBlocks()
      : thread_(ThreadOfWarp()),
        first_key_(KeyBlock::Rows::CopiedFirst(thread_)),
        first_value_(ValueBlock::Rows::CopiedFirst(thread_)) {}

  __device__ bool Enter(const DecodeLane& lane) {
    pages_ = lane.pages + thread_ * 16;
    page_stride_ = lane.page_stride;
    page_shift_ = lane.page_shift;
    values_ = KeyBlock::PageRowBytes(lane.key_dims) << page_shift_;
    return KeyBlock::Chunks(lane.key_dims) == KeyBlock::kChunks &&
           ValueBlock::Chunks(lane.value_dims) == ValueBlock::kChunks;
  }
  __device__ void Find(int page, int row) {
    page_ = pages_ + page * page_stride_;
    row_ = row;
  }
  __device__ void CopyWhole(bool values, uint32_t to, uint64_t policy) const {
    if (values) {
      ValueBlock::CopyWhole(page_ + values_, row_, page_shift_, {to, first_value_, thread_},
                            policy);
    } else {
      KeyBlock::CopyWhole(page_, row_, page_shift_, {to, first_key_, thread_}, policy);
    }
  }
  __device__ void CopyPart(const DecodeLane& lane, bool values, uint32_t live, uint32_t to,
                           uint64_t policy) const {
    const std::byte* page = page_ - thread_ * 16;
    if (values) {
      ValueBlock::CopyPart({page + values_, row_, page_shift_, lane.value_dims}, live, to, policy);
    } else {
      KeyBlock::CopyPart({page, row_, page_shift_, lane.key_dims}, live, to, policy);
    }
  }

 private:
  const uint32_t thread_, first_key_, first_value_;
  const std::byte* pages_;  // and on: this thread's 16 bytes of 512
  int64_t page_stride_;
  int page_shift_;
  uint32_t values_;  // from a page to the lane's values in it
  const std::byte* page_;
  uint32_t row_;
};

}  // namespace headlong::cuda
