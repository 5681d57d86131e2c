// How rows in shared memory become operands of the matrix units without a word between threads:
// LoadMatrix gives a thread four neighbouring bytes of a key, LoadTransposed two of each of two
// values. The order of head_dim that follows from that is the same for keys and queries, and undone
// when outputs are stored.
//
// A chunk is 16 bytes of a row; matrices are loaded of two chunks at a time. A tile is 16 rows of a
// result, numbers of values: four of two chunks of int4, two of int8 and fp8, one of bf16.
#pragma once

#include "worker/kernels/decode_element.cuh"
#include "worker/kernels/decode_scales.cuh"
#include "worker/kernels/decode_stored_blocks.cuh"

namespace headlong::cuda {

template <typename Block>
inline constexpr int kTilesOfPair = Block::kNumbers / 8;
template <typename Block>
inline constexpr int kValueTiles = Block::kChunks* kTilesOfPair<Block> / 2;

// Which number of a row is in row `row` or `row + 8` (odd) of a tile of values.
template <typename Block>
__device__ int ValueNumber(int tile, bool odd, int row) {
  if (Block::kInt4) return tile / 2 * kCodeGroup + row * 2 + tile % 2 + odd * 16;
  return tile * 16 + (Block::kPlain ? row + odd * 8 : row * 2 + odd);
}

// Where a thread's row of four matrices is: of the first and the last 8 tokens of a block, in its
// first 16 bytes, then in the next ones.
template <typename Block>
struct MatrixRows {
  uint32_t from;
  __device__ explicit MatrixRows(uint32_t block, const MmaThread& thread)
      : from(block + (Block::Rows::Begin(0, thread.thread % 16) ^ thread.thread / 16 * 16)) {}
  __device__ uint32_t Pair(int pair) const { return Block::Rows::Quad(from, pair * 2); }
};

// Keys in fp8 or bf16 as the first operand of products over head_dim, two steps at a time.
template <typename Block>
struct StoredKeys {
  using Element = std::conditional_t<Block::kPlain, Bfloat16Element, Float16Element>;
  MatrixRows<Block> rows;

  __device__ void Load(int pair, uint32_t (&a)[2][4]) const {
    if constexpr (Block::kPlain) {
      for (int k = 0; k < 2; ++k) LoadMatrix(a[k], rows.Pair(2 * pair + k));
      return;
    }
    uint32_t codes[4];
    LoadMatrix(codes, rows.Pair(pair));
#pragma unroll
    for (int i = 0; i < 4; ++i) WidenFloat8(codes[i], a[i / 2][i % 2], a[i / 2][2 + i % 2]);
  }
};

// Values of a block as the first operand of products over its tokens.
template <typename Block>
struct StoredValues {
  using Element = std::conditional_t<Block::kPlain, Bfloat16Element, Float16Element>;
  using Tiles = uint32_t[kTilesOfPair<Block>][4];

  ScalesOf<Block> scales;
  MatrixRows<Block> rows;
  const WidenConstants& constants;

  __device__ void Load(int pair, Tiles& tiles) const {
    uint32_t words[4];  // of the first and the last tokens, in each chunk
    LoadTransposed(words, rows.Pair(pair));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int chunk = i / 2, tokens = i % 2 * 2;
      if constexpr (Block::kPlain) {
        tiles[0][tokens + chunk] = words[i];
      } else if constexpr (Block::kInt4) {
        tiles[2 * chunk][tokens] = constants.LowNibbles(words[i]);
        tiles[2 * chunk][tokens + 1] = constants.HighNibbles(words[i]);
        tiles[2 * chunk + 1][tokens] = constants.LowNibbles(words[i] >> 8);
        tiles[2 * chunk + 1][tokens + 1] = constants.HighNibbles(words[i] >> 8);
      } else {
        WidenTwoRows<Block::kType>(words[i], tiles[chunk][tokens], tiles[chunk][tokens + 1]);
      }
    }
  }
};

}  // namespace headlong::cuda
