// How coded rows become operands of the matrix units without a word between threads: what a thread
// holds of a row are neighbours, and the order of head_dim that follows from that is the same for
// keys and queries, and undone when outputs are stored.
//
// A group is 32 numbers of a row: two steps of a product over keys, two tiles of values.
#pragma once

#include "worker/kernels/decode_coded_blocks.cuh"
#include "worker/kernels/decode_scales.cuh"

namespace headlong::cuda {

// Keys of a block as the first operand of products over head_dim.
template <typename Block>
struct CodedKeys {
  BlockScales<Block> scales;
  const MmaThread& thread;
  uint32_t from[2];  // rows `row` and `row + 8`

  __device__ CodedKeys(uint32_t block, int dims, const MmaThread& the_thread)
      : scales(block, dims, the_thread), thread(the_thread) {
    for (int half = 0; half < 2; ++half) {
      from[half] = Block::Rows::Begin(block, thread.row + half * 8) + thread.four;
    }
  }
  __device__ void Load(int group, uint32_t (&a)[2][4]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if constexpr (Block::kInt4) {
        const uint32_t word =
            __byte_perm(LoadWord(Block::Rows::Quad(from[half], group)), 0, 0x3120);
        a[0][half] = thread.constants.LowNibbles(word);
        a[1][half] = thread.constants.HighNibbles(word);
        a[0][2 + half] = thread.constants.LowNibbles(word >> 8);
        a[1][2 + half] = thread.constants.HighNibbles(word >> 8);
      } else {
#pragma unroll
        for (int s = 0; s < 2 && 2 * group + s < Block::kChunks; ++s) {
          const uint32_t word = LoadWord(Block::Rows::Quad(from[half], 2 * group + s));
          WidenFour<Block::kType>(word, a[s][half], a[s][2 + half]);
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
  uint32_t from[2][2];  // rows `pair` and the next, and 8 more

  __device__ CodedValues(uint32_t block, int dims, const MmaThread& the_thread)
      : scales(block, dims, the_thread), thread(the_thread) {
    const int byte = thread.row * (Block::kInt4 ? 2 : 4);  // of a group
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t row = Block::Rows::Begin(block, thread.pair + i % 2 + i / 2 * 8);
      from[i / 2][i % 2] = (row ^ byte / 16 * 16) + byte % 16;
    }
  }
  __device__ void Load(int group, uint32_t (&a)[2][4]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {          // of the tokens
      constexpr int kQuads = Block::kInt4 ? 1 : 2;  // of a group
      const uint32_t row = Block::Rows::Quad(from[half][0], kQuads * group);
      const uint32_t next = Block::Rows::Quad(from[half][1], kQuads * group);
      uint32_t pairs[4];
      if constexpr (Block::kInt4) {
        const uint32_t two = __byte_perm(LoadHalf(row), LoadHalf(next), 0x5410);
        pairs[0] = thread.constants.LowNibbles(two);
        pairs[1] = thread.constants.HighNibbles(two);
        pairs[2] = thread.constants.LowNibbles(two >> 8);
        pairs[3] = thread.constants.HighNibbles(two >> 8);
      } else {
        WidenTwoRows<Block::kType>(LoadWord(row), LoadWord(next), pairs);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) a[i / 2][half * 2 + i % 2] = pairs[i];
    }
  }
};

}  // namespace headlong::cuda
