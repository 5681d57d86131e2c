// One warp's softmax in plain fp32 arithmetic, a token at a time: for the kernels of fp32 caches
// and of any pair of types, which are made to be right and not to be fast.
#pragma once

#include "worker/kernels/decode_state.cuh"

namespace headlong::cuda {

inline constexpr int kPassQueries = 4;

__device__ inline float WarpSum(float x) {
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(~0u, x, step);
  return x;
}

// A warp's softmax for kPassQueries query heads; a thread holds elements thread, thread + 32, ...
template <int kHeadDim>
struct Pass {
  static constexpr int kElements = (kHeadDim + 31) / 32;

  float q[kPassQueries][kElements];
  float out[kPassQueries][kElements];
  float peak[kPassQueries], sum[kPassQueries];

  // What is beyond `dims` is 0.
  template <typename Element>
  __device__ static void Load(const Element* row, int dims, float (&to)[kElements]) {
    for (int e = 0; e < kElements; ++e) {
      const int i = e * 32 + threadIdx.x % 32;
      to[e] = i < dims ? static_cast<float>(row[i]) : 0;
    }
  }

  // q_rows: [queries][kHeadDim]
  template <typename Element>
  __device__ void Begin(const Element* q_rows, int queries) {
    for (int n = 0; n < kPassQueries; ++n) {
      const int held = n < queries ? n : 0;
      Load(q_rows + held * kHeadDim, kHeadDim, q[n]);
      for (float& x : out[n]) x = 0;
      peak[n] = kMinusInfinity;
      sum[n] = 0;
    }
  }

  // One more key with its logit's scale and bias, both times log2(e), and its value.
  __device__ void Add(const float (&key)[kElements], const float (&value)[kElements], float scale,
                      float bias) {
    for (int n = 0; n < kPassQueries; ++n) {
      float dot = 0;
      for (int e = 0; e < kElements; ++e) dot += q[n][e] * key[e];
      const float logit = WarpSum(dot) * scale + bias;
      const float new_peak = fmaxf(peak[n], logit);
      const float finite_peak = new_peak == kMinusInfinity ? 0 : new_peak;
      const float rescale = exp2f(peak[n] - finite_peak), p = exp2f(logit - finite_peak);
      peak[n] = new_peak;
      sum[n] = sum[n] * rescale + p;
      for (int e = 0; e < kElements; ++e) out[n][e] = out[n][e] * rescale + p * value[e];
    }
  }
};

}  // namespace headlong::cuda
