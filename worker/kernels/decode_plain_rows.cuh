// Plain rows of first tokens as operands beside coded ones (decode_coded.cuh), out of global
// memory.
#pragma once

#include "worker/kernels/decode_coded.cuh"

namespace headlong::cuda {

struct NoScales {
  static constexpr bool kByGroup = false;
  __device__ float Of(int /*half*/, int /*group*/) const { return 1; }
  __device__ float Log(int /*half*/) const { return kLeastLog; }
};

// 16 rows from `first` on of [count][dims] in 16 bits. dims: a multiple of 16.
struct PlainRows {
  const uint16_t* rows;
  int first, count, dims;

  // Neighbours from `i` on, which is a multiple of how many they are.
  template <typename Pairs>
  __device__ Pairs Load(int token, int i) const {
    const int row = first + token;
    return row < count && i < dims ? *reinterpret_cast<const Pairs*>(rows + row * dims + i)
                                   : Pairs{};
  }
};

struct PlainKeys : PlainRows {
  using Element = Bfloat16Element;
  MmaThread thread;

  __device__ void Load(int pair, uint32_t (&a)[2][4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int half = i % 2, k = i / 2;
      const uint2 four = PlainRows::Load<uint2>(thread.row + half * 8,
                                                (2 * pair + k) * 16 + thread.column * 4);
      a[k][half] = four.x;
      a[k][2 + half] = four.y;
    }
  }
};

// In the order of coded values.
template <typename Block>
struct PlainValues : PlainRows {
  using Element = Bfloat16Element;
  static constexpr int kTiles = kTilesOfChunk<Block>;
  MmaThread thread;
  NoScales scales;

  __device__ void Load(int pair, uint32_t (&a)[2][kTiles][4]) const {
#pragma unroll
    for (int i = 0; i < 2 * 2 * kTiles; ++i) {
      const int k = i % 2, half = i / 2 % 2, next = i / 4;
      const int chunk = 2 * pair + k, token = thread.column * 2 + half * 8;
      // Neighbours of a row: of both tiles of a chunk of int4, or of both rows of a tile.
      const int number = ValueNumber<Block>(chunk, 0, Block::kInt4 && next != 0, thread.row);
      const uint32_t low = PlainRows::Load<uint32_t>(token, number);
      const uint32_t high = PlainRows::Load<uint32_t>(token + 1, number);
      const uint32_t firsts = __byte_perm(low, high, 0x5410);
      const uint32_t seconds = __byte_perm(low, high, 0x7632);
      if constexpr (Block::kInt4) {
        a[k][0][half * 2 + next] = firsts;
        a[k][1][half * 2 + next] = seconds;
      } else {
        a[k][0][half * 2] = firsts;
        a[k][0][half * 2 + 1] = seconds;
      }
    }
  }
};

}  // namespace headlong::cuda
