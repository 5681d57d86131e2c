// How coded rows become operands of the matrix units without a word between threads: what a thread
// holds of a row are neighbours, and the order of head_dim that follows from that is the same for
// keys and queries, and undone when outputs are stored.
//
// A group is 32 numbers of a row: two steps of a product over keys, two tiles of values.
#pragma once

#include "worker/kernels/decode_coded_blocks.cuh"

namespace headlong::cuda {

// Scales of the rows `row` and `row + 8` of a block. Those of groups that the lane has not are 0.
template <typename Block>
struct BlockScales {
  static constexpr bool kByGroup = Block::kInt4;
  static constexpr bool kByRow = !Block::kInt4;

  float of[2][Block::kScales];  // [row, row + 8][group, or 0]

  __device__ BlockScales(uint32_t block, int dims, const MmaThread& thread) {
    const int count = Block::Scales(dims);
    const uint32_t from = block + kBlock * Block::kRowBytes + thread.row * count * 2;
    for (int half = 0; half < 2; ++half) {
      const uint32_t row = from + half * 16 * count;
      if (Block::kScales % 2 == 0 && count == Block::kScales) {
#pragma unroll
        for (int i = 0; i < Block::kScales / 2; ++i) {
          const uint32_t two = LoadWord(row + i * 4);
          of[half][2 * i] = __uint_as_float(two << 16);
          of[half][2 * i + 1] = __uint_as_float(two & 0xffff0000u);
        }
      } else {
#pragma unroll
        for (int i = 0; i < Block::kScales; ++i) {
          of[half][i] = i < count ? __uint_as_float(LoadHalf(row + i * 2) << 16) : 0;
        }
      }
    }
  }
  __device__ float Of(int half, int group) const { return of[half][kByGroup ? group : 0]; }
};

// Keys of a block as the first operand of products over head_dim.
template <typename Block>
struct CodedKeys {
  BlockScales<Block> scales;
  const MmaThread& thread;
  uint32_t from;

  __device__ CodedKeys(uint32_t block, int dims, const MmaThread& the_thread)
      : scales(block, dims, the_thread),
        thread(the_thread),
        from(block + thread.row * Block::kRowBytes + thread.four) {}
  __device__ void Load(int group, uint32_t (&a)[2][4]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t row = from + half * 8 * Block::kRowBytes;
      if constexpr (Block::kInt4) {
        const uint32_t word = LoadWord(row + group * 16);
        WidenBytes<Block::kType>(word, thread.pair128, a[0][half], a[0][2 + half]);
        WidenBytes<Block::kType>(word >> 4, thread.pair128, a[1][half], a[1][2 + half]);
      } else {
#pragma unroll
        for (int s = 0; s < 2 && 2 * group + s < Block::kChunks; ++s) {
          const uint32_t word = LoadWord(row + (2 * group + s) * 16);
          WidenBytes<Block::kType>(word, thread.pair128, a[s][half], a[s][2 + half]);
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
  const MmaThread& thread;
  uint32_t from;

  __device__ CodedValues(uint32_t block, int dims, const MmaThread& the_thread)
      : scales(block, dims, the_thread),
        thread(the_thread),
        from(block + thread.pair * Block::kRowBytes + thread.row * (Block::kInt4 ? 2 : 4)) {}
  __device__ void Load(int group, uint32_t (&a)[2][4]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {  // of the tokens
      const uint32_t row = from + half * 8 * Block::kRowBytes;
      if constexpr (Block::kInt4) {
        const uint32_t two =
            LoadHalf(row + group * 16) | LoadHalf(row + Block::kRowBytes + group * 16) << 16;
#pragma unroll
        for (int i = 0; i < 4; ++i)
          a[i / 2][half * 2 + i % 2] = Int4Pair(two >> (4 * i), thread.pair128 | 0x00080008);
      } else {
        const uint32_t first = LoadWord(row + group * kCodeGroup);
        const uint32_t second = LoadWord(row + Block::kRowBytes + group * kCodeGroup);
#pragma unroll
        for (int tile = 0; tile < 2; ++tile) {
          const uint32_t bytes = __byte_perm(first, second, tile == 0 ? 0x5410 : 0x7632);
          WidenBytes<Block::kType>(bytes, thread.pair128, a[tile][half * 2], a[tile][half * 2 + 1]);
        }
      }
    }
  }
};

}  // namespace headlong::cuda
