// Plain rows of first tokens as operands beside coded ones (decode_coded.cuh), out of global
// memory.
#pragma once

#include "worker/kernels/decode_coded.cuh"

namespace headlong::cuda {

struct NoScales {
  static constexpr bool kByGroup = false, kByRow = false;
  using Element = Bfloat16Element;
  __device__ float Of(int /*half*/, int /*group*/) const { return 1; }
  __device__ float Log(int /*half*/) const { return kLeastLog; }
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
      const int number = (2 * group + s) * 16 + thread.four + odd * 2;
      a[s][odd * 2 + half] = Number(token, number) | Number(token, number + 1) << 16;
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
