// Plain rows of first tokens as operands beside coded ones (decode_stored.cuh), out of global
// memory.
#pragma once

#include "worker/kernels/decode_stored.cuh"

namespace headlong::cuda {

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
      const uint2 four =
          PlainRows::Load<uint2>(thread.row + half * 8, (2 * pair + k) * 16 + thread.column * 4);
      a[k][half] = four.x;
      a[k][2 + half] = four.y;
    }
  }
};

// In the order of a block's values.
template <typename Block>
struct PlainValues : PlainRows {
  using Element = Bfloat16Element;
  using Tiles = uint32_t[kTilesOfPair<Block>][4];
  MmaThread thread;
  NoScales scales;

  __device__ void Load(int pair, Tiles& tiles) const {
#pragma unroll
    for (int i = 0; i < 4 * kTilesOfPair<Block>; ++i) {
      const int tile = i / 4, half = i / 2 % 2, odd = i % 2;
      const int token = thread.column * 2 + half * 8;
      const int number =
          ValueNumber<Block>(pair * kTilesOfPair<Block> + tile, odd != 0, thread.row);
      const uint32_t word = Load2(token, number), next = Load2(token + 1, number);
      tiles[tile][half * 2 + odd] = __byte_perm(word, next, number % 2 == 0 ? 0x5410 : 0x7632);
    }
  }

 private:
  // The number there and its neighbour.
  __device__ uint32_t Load2(int token, int number) const {
    return PlainRows::Load<uint32_t>(token, number & ~1);
  }
};

}  // namespace headlong::cuda
