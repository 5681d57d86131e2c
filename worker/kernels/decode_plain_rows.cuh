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

// 16 rows from `first` on of [count][dims] in bf16.
struct PlainRows {
  const uint16_t* rows;
  int first, count, dims;

  __device__ uint32_t Number(int token, int i) const {
    const int row = first + token;
    return row < count && i < dims ? rows[row * dims + i] : 0;
  }
};

struct PlainKeys : PlainRows {
  using Element = Bfloat16Element;
  MmaThread thread;

  __device__ void Load(int pair, uint32_t (&a)[2][4]) const {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int half = i % 2, odd = i / 2 % 2, k = i / 4, token = thread.row + half * 8;
      const int number = (2 * pair + k) * 16 + thread.column * 4 + odd * 2;
      a[k][odd * 2 + half] = Number(token, number) | Number(token, number + 1) << 16;
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
    for (int i = 0; i < 2 * kTiles * 4; ++i) {
      const int odd = i % 2, half = i / 2 % 2, tile = i / 4 % kTiles, k = i / 4 / kTiles;
      const int number = ValueNumber<Block>(2 * pair + k, tile, odd != 0, thread.row);
      const int token = thread.column * 2 + half * 8;
      a[k][tile][i % 4] = Number(token, number) | Number(token + 1, number) << 16;
    }
  }
};

}  // namespace headlong::cuda
