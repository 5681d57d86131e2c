// How rows in shared memory become operands of the matrix units without a word between threads:
// LoadMatrix gives a thread four neighbouring bytes of a key, LoadTransposed two of each of two
// values. The order of head_dim that follows from that is the same for keys and queries, and undone
// when outputs are stored.
//
// A chunk is 16 bytes of a row; a tile is 16 rows of a result, numbers of values: two of a chunk of
// int4, one otherwise. Operands come for two chunks at a time, as matrices are loaded.
#pragma once

#include "worker/kernels/decode_coded_blocks.cuh"
#include "worker/kernels/decode_element.cuh"
#include "worker/kernels/decode_scales.cuh"

namespace headlong::cuda {

template <typename Block>
inline constexpr int kTilesOfChunk = Block::kInt4 ? 2 : 1;

// Which number of a row is in row `row` or `row + 8` (odd) of a tile of a chunk of values.
template <typename Block>
__device__ int ValueNumber(int chunk, int tile, bool odd, int row) {
  return Block::kInt4 ? chunk * kCodeGroup + row * 2 + tile + odd * 16
                      : chunk * 16 + row * 2 + odd;
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

// fp8 keys as the first operand of products over head_dim.
template <typename Block>
struct CodedKeys {
  using Element = Float16Element;
  MatrixRows<Block> rows;

  __device__ void Load(int pair, uint32_t (&a)[2][4]) const {
    uint32_t codes[4];
    LoadMatrix(codes, rows.Pair(pair));
#pragma unroll
    for (int i = 0; i < 4; ++i) WidenFloat8(codes[i], a[i / 2][i % 2], a[i / 2][2 + i % 2]);
  }
};

// Values of a block as the first operand of products over its tokens.
template <typename Block>
struct CodedValues {
  using Element = Float16Element;
  static constexpr int kTiles = kTilesOfChunk<Block>;

  BlockScales<Block> scales;
  MatrixRows<Block> rows;
  const WidenConstants& constants;

  __device__ void Load(int pair, uint32_t (&a)[2][kTiles][4]) const {
    uint32_t codes[4];
    LoadTransposed(codes, rows.Pair(pair));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      uint32_t(&tiles)[kTiles][4] = a[i / 2];
      const int tokens = i % 2 * 2;
      if constexpr (Block::kInt4) {
        tiles[0][tokens] = constants.LowNibbles(codes[i]);
        tiles[0][tokens + 1] = constants.HighNibbles(codes[i]);
        tiles[1][tokens] = constants.LowNibbles(codes[i] >> 8);
        tiles[1][tokens + 1] = constants.HighNibbles(codes[i] >> 8);
      } else {
        WidenTwoRows<Block::kType>(codes[i], tiles[0][tokens], tiles[0][tokens + 1]);
      }
    }
  }
};

}  // namespace headlong::cuda
