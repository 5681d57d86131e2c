// The query heads of a lane as operands. A thread has the heads `column`, `column + 4`, and so on,
// kQueries of them: in columns 2 * column and 2 * column + 1 of results of 16-bit floats, and in
// those two, as high and low bytes, of results of bytes.
#pragma once

#include "worker/kernels/decode_element.cuh"
#include "worker/kernels/decode_scales.cuh"

namespace headlong::cuda {

// Tiles of 8 columns.
template <int kQueries>
inline constexpr int kColumnTiles = (kQueries + 1) / 2;

// Steps of 16 numbers, in two pairs.
template <int kHeadDim, int kQueries>
using HalfQueries = uint32_t[kColumnTiles<kQueries>][kHeadDim / 16][2];

// Which of 16 numbers a thread has: the pairs at column * stride and at `second` behind that.
struct StepOrder {
  int stride, second;
};
inline constexpr StepOrder kFourNeighbours = {4, 2}, kMatrixOrder = {2, 8};

// As they are, in bf16.
template <int kHeadDim, int kQueries>
__device__ void LoadQueries(const DecodeAttention& decode, int first, const MmaThread& thread,
                            StepOrder order, HalfQueries<kHeadDim, kQueries>& pairs) {
  const auto* rows = static_cast<const uint16_t*>(decode.q) + int64_t{first} * kHeadDim;
#pragma unroll
  for (int n = 0; n < kColumnTiles<kQueries>; ++n) {
    const int turn = 2 * n + thread.row % 2, query = thread.row / 2 + 4 * turn;
    const bool there = turn < kQueries && query < decode.shape.group;
    const uint16_t* row = rows + query * kHeadDim + thread.column * order.stride;
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; ++k) {
      for (int i = 0; i < 2; ++i) {
        const auto* pair = reinterpret_cast<const uint32_t*>(row + k * 16 + i * order.second);
        pairs[n][k][i] = there ? *pair : 0;
      }
    }
  }
}

// Of a column of a tile of queries, what the thread that has it in its u-th query asks for.
__device__ inline float OfQuery(float of_column, int u, const MmaThread& thread) {
  return __shfl_sync(~0u, of_column, (thread.column * 2 + u % 2) * 4);
}

// The greatest magnitude of a column's numbers, as its bits: NaN is above all.
__device__ inline uint32_t GreatestBits(uint32_t most, uint32_t pair) {
  return max(most, max(pair << 16 & 0x7fff0000, pair & 0x7fff0000));
}
__device__ inline uint32_t OverColumn(uint32_t most) {
  most = max(most, __shfl_xor_sync(~0u, most, 1));
  return max(most, __shfl_xor_sync(~0u, most, 2));
}

// The power of two that leaves the greatest number in [1, 2); of numbers from 2^126 on, above that.
struct Divisor {
  float divisor, inverse;
  __device__ explicit Divisor(uint32_t greatest_bits) {
    const uint32_t exponent = min(greatest_bits & 0x7f800000, 0x7e000000);
    divisor = greatest_bits < 0x7f800000 ? __uint_as_float(exponent) : __uint_as_float(0x7fc00000);
    inverse = __uint_as_float(0x7f000000 - exponent);
  }
};

}  // namespace headlong::cuda
