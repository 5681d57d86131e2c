// Coded rows in the decode kernel's ring.
#pragma once

#include "worker/kernels/decode_element.cuh"
#include "worker/kernels/decode_loads.cuh"
#include "worker/kernels/row_widen.cuh"

namespace headlong::cuda {

__device__ inline uint32_t LoadWord(uint32_t from) {
  uint32_t word;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(word) : "r"(from) : "memory");
  return word;
}
__device__ inline uint32_t LoadHalf(uint32_t from) {
  uint16_t half;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(half) : "r"(from) : "memory");
  return half;
}

// The place of a thread in the operands and results of m16n8k16.
struct MmaThread {
  int row;   // and row + 8
  int pair;  // and pair + 1: columns
  int four;  // of each 16 numbers of a key these four are its own
  uint32_t pair128;

  __device__ MmaThread()
      : row(threadIdx.x % 32 / 4),
        pair(threadIdx.x % 4 * 2),
        four(threadIdx.x % 4 * 4),
        pair128(Pair128()) {}
};

// 16 rows of codes, padded to an odd number of 16 bytes, then their scales as a lane stores them.
template <Storage kStored, int kHeadDim>
struct CodedBlock {
  static constexpr Storage kType = kStored;
  static constexpr bool kInt4 = kType == Storage::kInt4;
  static constexpr int kGroups = (kHeadDim + kCodeGroup - 1) / kCodeGroup;
  static constexpr int kChunks = kInt4 ? kGroups : kHeadDim / 16;  // of 16 bytes in a row
  static constexpr int kScales = kInt4 ? kGroups : 1;              // of a row
  static constexpr int kRowBytes = (kChunks | 1) * 16;
  static constexpr int kBytes = kBlock * (kRowBytes + 2 * kScales);

  // How many chunks, and scales, a lane's row of so many numbers has.
  __device__ static int Chunks(int dims) {
    return kInt4 ? (dims + kCodeGroup - 1) / kCodeGroup : dims / 16;
  }
  __device__ static int Scales(int dims) { return kInt4 ? Chunks(dims) : 1; }
  __device__ static int PageBytes(int page_tokens, int dims) {
    return page_tokens * (Chunks(dims) * 16 + Scales(dims) * 2);
  }

  // rows: the lane's part of a page. Numbers beyond `dims` become zeros.
  __device__ static void Copy(const BlockPlace& block, const std::byte* rows, int dims, uint32_t to,
                              uint64_t policy) {
    const int thread = threadIdx.x % 32, chunks = Chunks(dims), scales = Scales(dims);
    const std::byte* from = rows + block.row * chunks * 16;
    const bool whole = block.live == 0xffff && chunks == kChunks;  // as a rule
#pragma unroll
    for (int i = 0; i < (kBlock * kChunks + 31) / 32; ++i) {
      const int index = i * 32 + thread, r = index / kChunks, chunk = index % kChunks;
      if (kBlock * kChunks % 32 != 0 && r >= kBlock) break;
      const uint32_t place = to + r * kRowBytes + chunk * 16;
      if (whole) {
        CopyQuad(place, from + index * 16, true, policy);
      } else {
        CopyQuad(place, from + (r * chunks + chunk) * 16,
                 (block.live >> r & 1) != 0 && chunk < chunks, policy);
      }
    }
    const int64_t before = int64_t{chunks} * 16 << block.lane.page_shift;
    if (thread < 2 * scales) {  // 32 bytes are the scales of 16 rows
      CopyQuad(to + kBlock * kRowBytes + thread * 16,
               rows + before + block.row * scales * 2 + thread * 16, true, policy);
    }
  }
};

template <typename KeyBlock, typename ValueBlock>
struct CodedBlocks {
  static constexpr int kBytes =
      KeyBlock::kBytes > ValueBlock::kBytes ? KeyBlock::kBytes : ValueBlock::kBytes;

  __device__ static void Copy(const BlockPlace& block, bool values, uint32_t to, uint64_t policy) {
    const DecodeLane& lane = block.lane;
    const std::byte* page = lane.pages + block.page * lane.page_stride;
    if (values) {
      page += KeyBlock::PageBytes(1 << lane.page_shift, lane.key_dims);
      ValueBlock::Copy(block, page, lane.value_dims, to, policy);
    } else {
      KeyBlock::Copy(block, page, lane.key_dims, to, policy);
    }
  }
};

}  // namespace headlong::cuda
