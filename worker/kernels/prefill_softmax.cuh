// The softmax of a tile's rows as the accumulators of the matrix units hold them, for the prefill
// kernels of 16-bit caches.
#pragma once

#include "worker/kernels/decode_element.cuh"
#include "worker/kernels/decode_state.cuh"
#include "worker/kernels/prefill_tile.cuh"

namespace headlong::cuda {

// A thread holds rows `row` and `row + 8` of each of its row tiles, and of every eight columns
// `pair` and `pair + 1`: the accumulators of m16n8k16, and of wgmma with one row tile to a warp.
template <typename Element, int kDim, int kRowTiles, int kKeys>
struct TileSoftmax {
  static constexpr int kColumns = kKeys / 8;

  const Queries& queries;
  const int row, pair;
  const float scale;
  float logits[kRowTiles][kColumns][4];
  float peak[kRowTiles][2], sum[kRowTiles][2];  // peaks in base 2; sums of this thread's columns
  float rescale[kRowTiles][2];
  float out[kRowTiles][kDim / 8][4];

  __device__ TileSoftmax(const Queries& the_queries, float the_scale)
      : queries(the_queries),
        row(threadIdx.x / 32 * 16 * kRowTiles + threadIdx.x % 32 / 4),
        pair(threadIdx.x % 4 * 2),
        scale(the_scale * kLog2e) {
#pragma unroll
    for (int t = 0; t < kRowTiles; ++t) {
      peak[t][0] = peak[t][1] = kMinusInfinity;
      sum[t][0] = sum[t][1] = 0;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        for (int j = 0; j < 4; ++j) out[t][n][j] = 0;
      }
    }
  }

  // Logits become weights; `rescale` is what the sums of values until now are to be scaled by.
  __device__ void Weigh() {
#pragma unroll
    for (int t = 0; t < kRowTiles; ++t) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float most = kMinusInfinity;
#pragma unroll
        for (int n = 0; n < kColumns; ++n) {
          most = fmaxf(most, fmaxf(logits[t][n][h * 2], logits[t][n][h * 2 + 1]));
        }
        most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
        most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
        const float new_peak = fmaxf(peak[t][h], most * scale);
        const float finite_peak = new_peak == kMinusInfinity ? 0 : new_peak;
        rescale[t][h] = Exp2(peak[t][h] - finite_peak);
        peak[t][h] = new_peak;
        float added = 0;
#pragma unroll
        for (int n = 0; n < kColumns; ++n) {
          for (int j = 0; j < 2; ++j) {
            float& x = logits[t][n][h * 2 + j];
            x = Exp2(x * scale - finite_peak);
            added += x;
          }
        }
        sum[t][h] = sum[t][h] * rescale[t][h] + added;
      }
    }
  }

  __device__ void Rescale() {
    bool moved = false;
#pragma unroll
    for (int t = 0; t < kRowTiles; ++t) {
      moved = moved || rescale[t][0] != 1 || rescale[t][1] != 1;
    }
    if (!__any_sync(~0u, moved)) return;
#pragma unroll
    for (int t = 0; t < kRowTiles; ++t) {
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        for (int j = 0; j < 4; ++j) out[t][n][j] *= rescale[t][j / 2];
      }
    }
  }

  // Weights of keys [16 k, 16 k + 16) as the first operand of a product.
  __device__ void Pack(int t, int k, uint32_t (&a)[4]) const {
    for (int i = 0; i < 4; ++i) {
      const float(&columns)[4] = logits[t][2 * k + i / 2];
      a[i] = Element::Pack(columns[i % 2 * 2], columns[i % 2 * 2 + 1]);
    }
  }

  __device__ void Store(float* to_rows, float* lse) const {
#pragma unroll
    for (int t = 0; t < kRowTiles; ++t) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float half = sum[t][h] + __shfl_xor_sync(~0u, sum[t][h], 1);
        const float all = half + __shfl_xor_sync(~0u, half, 2);
        const int r = row + t * 16 + h * 8;
        if (r >= queries.rows) continue;
        if (lse != nullptr && pair == 0) {
          lse[queries.Row(r)] = all == 0 ? kMinusInfinity : (peak[t][h] + log2f(all)) * kLn2;
        }
        const float inverse = all == 0 ? 0 : 1 / all;  // no key at all: zeros
        float* to = to_rows + queries.Row(r) * kDim + pair;
#pragma unroll
        for (int n = 0; n < kDim / 8; ++n) {
          *reinterpret_cast<float2*>(to + n * 8) = {out[t][n][h * 2] * inverse,
                                                    out[t][n][h * 2 + 1] * inverse};
        }
      }
    }
  }
};

}  // namespace headlong::cuda
