// Coded rows in the decode kernel's ring.
#pragma once

#include "worker/kernels/decode_element.cuh"
#include "worker/kernels/decode_loads.cuh"
#include "worker/kernels/decode_widen.cuh"

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
  WidenConstants constants;

  __device__ MmaThread()
      : row(threadIdx.x % 32 / 4), pair(threadIdx.x % 4 * 2), four(threadIdx.x % 4 * 4) {}
};

// 16 rows of codes, then their scales as a lane stores them.
template <Storage kStored, int kHeadDim>
class CodedBlock {
 public:
  static constexpr Storage kType = kStored;
  static constexpr bool kInt4 = kType == Storage::kInt4;
  static constexpr int kGroups = (kHeadDim + kCodeGroup - 1) / kCodeGroup;
  static constexpr int kChunks = kInt4 ? kGroups : kHeadDim / 16;  // of 16 bytes in a row
  static constexpr int kQuads = kBlock * kChunks;
  static constexpr int kScales = kInt4 ? kGroups : 1;  // of a row
  using Rows = SharedRows<kChunks>;
  static constexpr int kCodeBytes = kBlock * Rows::kRowBytes;
  static constexpr int kBytes =
      (kCodeBytes + kBlock * 2 * kScales + kLineBytes - 1) / kLineBytes * kLineBytes;

  // How many chunks, and scales, a lane's row of so many numbers has.
  __device__ static int Chunks(int dims) {
    return kInt4 ? (dims + kCodeGroup - 1) / kCodeGroup : dims / 16;
  }
  __device__ static int Scales(int dims) { return kInt4 ? Chunks(dims) : 1; }
  // Of a row in a page, its scales included.
  static constexpr int kPageRowBytes = kChunks * 16 + kScales * 2;
  __device__ static int PageRowBytes(int dims) { return Chunks(dims) * 16 + Scales(dims) * 2; }

  // Of a whole block whose rows have all numbers, as a rule. codes: of its first row, 16 bytes a
  // thread.
  __device__ static void CopyWhole(const std::byte* codes, const std::byte* scales, uint32_t to,
                                   uint64_t policy) {
    const int thread = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kQuads / 32; ++i) {
      CopyQuad(Rows::Copied(to, i, thread), codes + i * 512, policy);
    }
    if (constexpr int i = kQuads / 32; kQuads % 32 != 0 && thread < kQuads % 32) {
      CopyQuad(Rows::Copied(to, i, thread), codes + i * 512, policy);
    }
    CopyScales(kScales, scales, to, policy);
  }
  // Numbers beyond `dims`, and rows that are not live, become zeros.
  __device__ static void CopyPart(const std::byte* codes, const std::byte* scales, int dims,
                                  uint32_t live, uint32_t to, uint64_t policy) {
    const int chunks = Chunks(dims);
#pragma unroll 1
    for (int index = threadIdx.x % 32; index < kQuads; index += 32) {
      const int r = index / kChunks, chunk = index % kChunks;
      CopyQuadIf((live >> r & 1) != 0 && chunk < chunks, Rows::Quad(Rows::Begin(to, r), chunk),
                 codes + (r * chunks + chunk) * 16);
    }
    CopyScales(Scales(dims), scales, to, policy);
  }

 private:
  // 32 bytes are the scales of 16 rows.
  __device__ static void CopyScales(int count, const std::byte* scales, uint32_t to,
                                    uint64_t policy) {
    const int thread = threadIdx.x % 32;
    if (thread < 2 * count) {
      CopyQuad(to + kCodeBytes + thread * 16, scales + thread * 16, policy);
    }
  }
};

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
  }
  __device__ void Find(int page, int row) {
    page_ = pages_ + page * page_stride_;
    row_ = row;
  }
  __device__ void Copy(bool values, uint32_t live, uint32_t to, uint64_t policy) const {
    if (values) {
      const int keys = whole_ ? KeyBlock::kPageRowBytes : KeyBlock::PageRowBytes(key_dims_);
      CopyOf<ValueBlock>(page_ + (keys << page_shift_), value_dims_, live, to, policy);
    } else {
      CopyOf<KeyBlock>(page_, key_dims_, live, to, policy);
    }
  }

 private:
  // rows: the lane's keys or values in a page.
  template <typename Block>
  __device__ void CopyOf(const std::byte* rows, int dims, uint32_t live, uint32_t to,
                         uint64_t policy) const {
    if (whole_ && live == kAllRows) {
      constexpr int kBytes = Block::kChunks * 16;
      Block::CopyWhole(rows + row_ * kBytes + threadIdx.x % 32 * 16,
                       rows + (kBytes << page_shift_) + row_ * (Block::kScales * 2), to, policy);
    } else {
      const int bytes = Block::Chunks(dims) * 16;
      Block::CopyPart(rows + row_ * bytes,
                      rows + (bytes << page_shift_) + row_ * (Block::Scales(dims) * 2), dims, live,
                      to, policy);
    }
  }

  const std::byte* pages_;
  int64_t page_stride_;
  int page_shift_, key_dims_, value_dims_;
  bool whole_;  // rows have as many numbers as head_dim
  const std::byte* page_;
  int row_;
};

}  // namespace headlong::cuda
