// The end of an item, for all decode kernels: the softmax states of a CTA's four warps, left in
// shared memory, become one row per query head of the result or of a part. One CTA.
#pragma once

#include "worker/kernels/decode_cuda.h"
#include "worker/kernels/launch.cuh"

namespace headlong::cuda {

inline constexpr int kDecodeWarps = kDecodeThreads / 32;
inline constexpr float kLn2 = 0.6931471805599453f;
inline constexpr float kLog2e = 1.4426950408889634f;
inline constexpr float kMinusInfinity = -__builtin_huge_valf();

// Lets the merge begin. Whatever else comes next must not: products that began beside this kernel
// took a step of Llama-3-8B from 4.9 to 6.6 ms on an H200 (a multiprocessor that is never idle
// seems to keep its memory as the shared memory of this kernel, not as their L1 cache).
__device__ inline void LetMergeBegin(const DecodeAttention& decode) {
  if (decode.merge_count > 0) LetNextBegin();
}

// [warp][query][kStride] sums weighted by 2^(logit - peak), then peaks and sums [warp][query].
// kStride keeps the quarter warps of an MMA accumulator on different banks.
template <int kHeadDim, int kQueries>
struct WarpStates {
  static constexpr int kStride = kHeadDim + 4;
  static constexpr int kFloats = kDecodeWarps * kQueries * (kStride + 2);

  float* memory;

  __device__ float* out(int warp, int query) const {
    return memory + (warp * kQueries + query) * kStride;
  }
  __device__ float& peak(int warp, int query) const {
    return memory[kDecodeWarps * kQueries * kStride + warp * kQueries + query];
  }
  __device__ float& sum(int warp, int query) const {
    return memory[kDecodeWarps * kQueries * (kStride + 1) + warp * kQueries + query];
  }
};

// Called by all threads between two barriers.
template <int kHeadDim, int kQueries>
__device__ void StoreStates(const DecodeAttention& decode, const DecodeItem& item,
                            const WarpStates<kHeadDim, kQueries>& states) {
  constexpr int kQuads = kHeadDim / 4;
  const int group = decode.shape.group;
  const bool whole = item.part < 0;
  const int64_t row = whole ? int64_t{item.lane.query} : int64_t{item.part} * group;
  float4* out = reinterpret_cast<float4*>((whole ? decode.out : decode.part_out) + row * kHeadDim);
  float* lse = (whole ? decode.lse : decode.part_lse) + row;
  for (int i = threadIdx.x; i < group * kQuads; i += kDecodeThreads) {
    const int query = i / kQuads, quad = i % kQuads;
    float peak = kMinusInfinity;
    for (int w = 0; w < kDecodeWarps; ++w) peak = fmaxf(peak, states.peak(w, query));
    const float finite_peak = peak == kMinusInfinity ? 0 : peak;
    float sum = 0;
    float4 total = {0, 0, 0, 0};
    for (int w = 0; w < kDecodeWarps; ++w) {
      const float weight = exp2f(states.peak(w, query) - finite_peak);
      const float4 o = reinterpret_cast<const float4*>(states.out(w, query))[quad];
      sum += weight * states.sum(w, query);
      total.x += weight * o.x;
      total.y += weight * o.y;
      total.z += weight * o.z;
      total.w += weight * o.w;
    }
    const float inverse = sum == 0 ? 0 : 1 / sum;  // no key at all: zeros
    out[i] = {total.x * inverse, total.y * inverse, total.z * inverse, total.w * inverse};
    if (quad == 0) lse[query] = sum == 0 ? kMinusInfinity : peak * kLn2 + logf(sum);
  }
}

}  // namespace headlong::cuda
