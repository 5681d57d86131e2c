// Coded rows in the decode kernel's ring, and how they become operands of the matrix units without
// a word between threads: what a thread holds of a row are neighbours, and the order of head_dim
// that follows from that is the same for keys and queries, and undone when outputs are stored.
//
// A group is 32 numbers of a row: two steps of a product over keys, two tiles of values.
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
#pragma unroll
    for (int i = 0; i < (kBlock * kChunks + 31) / 32; ++i) {
      const int index = i * 32 + thread, r = index / kChunks, chunk = index % kChunks;
      if (kBlock * kChunks % 32 != 0 && r >= kBlock) break;
      CopyQuad(to + r * kRowBytes + chunk * 16, rows + (block.row + r) * chunks * 16 + chunk * 16,
               (block.live >> r & 1) != 0 && chunk < chunks, policy);
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

// The place of a thread in the operands and results of m16n8k16.
struct MmaThread {
  int row;   // and row + 8
  int pair;  // and pair + 1: columns
  int four;  // of each 16 numbers of a key these four are its own

  __device__ MmaThread()
      : row(threadIdx.x % 32 / 4), pair(threadIdx.x % 4 * 2), four(threadIdx.x % 4 * 4) {}
};

// Scales of the rows `row` and `row + 8` of a block.
template <typename Block>
struct BlockScales {
  static constexpr bool kByGroup = Block::kInt4;
  static constexpr bool kByRow = !Block::kInt4;

  uint32_t from;
  int stride;  // scales of a row

  __device__ BlockScales(uint32_t block, int dims, const MmaThread& thread)
      : from(block + kBlock * Block::kRowBytes + thread.row * Block::Scales(dims) * 2),
        stride(Block::Scales(dims)) {}
  __device__ float Of(int half, int group) const {
    if (kByGroup && group >= stride) return 0;
    return __uint_as_float(LoadHalf(from + (half * 8 * stride + group) * 2) << 16);
  }
};

// Keys of a block as the first operand of products over head_dim.
template <typename Block>
struct CodedKeys {
  BlockScales<Block> scales;
  uint32_t from;

  __device__ CodedKeys(uint32_t block, int dims, const MmaThread& thread)
      : scales(block, dims, thread), from(block + thread.row * Block::kRowBytes + thread.four) {}
  __device__ void Load(int group, uint32_t (&a)[2][4]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t row = from + half * 8 * Block::kRowBytes;
      if constexpr (Block::kInt4) {
        const uint32_t word = LoadWord(row + group * 16);
        WidenBytes<Block::kType>(word, a[0][half], a[0][2 + half]);
        WidenBytes<Block::kType>(word >> 4, a[1][half], a[1][2 + half]);
      } else {
#pragma unroll
        for (int s = 0; s < 2 && 2 * group + s < Block::kChunks; ++s) {
          const uint32_t word = LoadWord(row + (2 * group + s) * 16);
          WidenBytes<Block::kType>(word, a[s][half], a[s][2 + half]);
        }
      }
    }
  }
};

// Which number of a row is in row 8 * (i % 2) + `row` of tile 2 * group + i / 2 of the values.
template <Storage kType>
__device__ int ValueNumber(int group, int i, int row) {
  if (kType == Storage::kInt4) return group * kCodeGroup + row * 2 + i / 2 + i % 2 * 16;
  return group * kCodeGroup + row * 4 + i;
}

// Values of a block as the first operand of products over its tokens.
template <typename Block>
struct CodedValues {
  BlockScales<Block> scales;
  uint32_t from;

  __device__ CodedValues(uint32_t block, int dims, const MmaThread& thread)
      : scales(block, dims, thread),
        from(block + thread.pair * Block::kRowBytes + thread.row * (Block::kInt4 ? 2 : 4)) {}
  __device__ void Load(int group, uint32_t (&a)[2][4]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {  // of the tokens
      const uint32_t row = from + half * 8 * Block::kRowBytes;
      if constexpr (Block::kInt4) {
        const uint32_t two = LoadHalf(row + group * 16) |
                             LoadHalf(row + Block::kRowBytes + group * 16) << 16;
#pragma unroll
        for (int i = 0; i < 4; ++i) a[i / 2][half * 2 + i % 2] = Int4Pair(two >> (4 * i));
      } else {
        const uint32_t first = LoadWord(row + group * kCodeGroup);
        const uint32_t second = LoadWord(row + Block::kRowBytes + group * kCodeGroup);
#pragma unroll
        for (int tile = 0; tile < 2; ++tile) {
          const uint32_t bytes = __byte_perm(first, second, tile == 0 ? 0x5410 : 0x7632);
          WidenBytes<Block::kType>(bytes, a[tile][half * 2], a[tile][half * 2 + 1]);
        }
      }
    }
  }
};

// ---- plain rows of first tokens, out of global memory ----

struct NoScales {
  static constexpr bool kByGroup = false, kByRow = false;
  __device__ float Of(int /*half*/, int /*group*/) const { return 1; }
};

// 16 rows from `first` on of [count][dims].
struct PlainRows {
  const uint16_t* rows;
  int first, count, dims;

  __device__ uint32_t Number(int token, int i) const {
    const int row = first + token;
    return row < count && i < dims ? rows[row * dims + i] : 0;
  }
};

struct PlainKeys : PlainRows {
  NoScales scales;
  MmaThread thread;

  __device__ PlainKeys(const PlainRows& rows, const MmaThread& the_thread)
      : PlainRows(rows), thread(the_thread) {}
  __device__ void Load(int group, uint32_t (&a)[2][4]) const {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int half = i % 2, odd = i / 2 % 2, s = i / 4, token = thread.row + half * 8;
      const int number = (2 * group + s) * 16 + thread.four + odd;
      a[s][odd * 2 + half] = Number(token, number) | Number(token, number + 2) << 16;
    }
  }
};

template <Storage kType>
struct PlainValues : PlainRows {
  NoScales scales;
  MmaThread thread;

  __device__ PlainValues(const PlainRows& rows, const MmaThread& the_thread)
      : PlainRows(rows), thread(the_thread) {}
  __device__ void Load(int group, uint32_t (&a)[2][4]) const {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int half = i / 4, number = ValueNumber<kType>(group, i % 4, thread.row);
      const int token = thread.pair + half * 8;
      a[i % 4 / 2][half * 2 + i % 2] = Number(token, number) | Number(token + 1, number) << 16;
    }
  }
};

}  // namespace headlong::cuda
