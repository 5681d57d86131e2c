// Decode attention for fp32 caches: plain fp32 arithmetic on the same work list. Made to be right
// wherever fp32 is asked for, not to be fast: a warp takes a token at a time, four query heads at a
// time, so keys and values are read ceil(group / 4) times, mostly from the L1.
#include "worker/kernels/decode_loads.cuh"

namespace headlong::cuda {
namespace {

constexpr int kPassQueries = 4;

__device__ float WarpSum(float x) {
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

  __device__ static void Load(const float* row, float (&to)[kElements]) {
    for (int e = 0; e < kElements; ++e) {
      const int i = e * 32 + threadIdx.x % 32;
      to[e] = i < kHeadDim ? row[i] : 0;
    }
  }

  __device__ void Begin(const DecodeAttention& decode, int row, int queries) {
    for (int n = 0; n < kPassQueries; ++n) {
      const int held = n < queries ? n : 0;
      Load(static_cast<const float*>(decode.q) + int64_t{row + held} * kHeadDim, q[n]);
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

  __device__ void End(const WarpStates<kHeadDim, kMaxGroup>& states, int first, int queries) {
    const int warp = threadIdx.x / 32;
    for (int n = 0; n < kPassQueries; ++n) {
      if (n >= queries) break;
      for (int e = 0; e < kElements; ++e) {
        const int i = e * 32 + threadIdx.x % 32;
        if (i < kHeadDim) states.out(warp, first + n)[i] = out[n][e];
      }
      states.peak(warp, first + n) = peak[n];
      states.sum(warp, first + n) = sum[n];
    }
  }
};

template <int kHeadDim>
__device__ void AddTokens(const DecodeAttention& decode, const DecodeItem& item,
                          Pass<kHeadDim>& pass) {
  const DecodeLane& lane = item.lane;
  const float scale = decode.scale * kLog2e;
  const int warp = threadIdx.x / 32, page_tokens = 1 << lane.page_shift;
  float key[Pass<kHeadDim>::kElements], value[Pass<kHeadDim>::kElements];
  if (item.begin == 0 && lane.dropped > 0 && warp == 0) {
    pass.Load(lane.dropped_sums, key);
    pass.Load(lane.dropped_sums + kHeadDim, value);
    for (float& x : key) x /= lane.dropped;
    for (float& x : value) x /= lane.dropped;
    pass.Add(key, value, scale, log2f(static_cast<float>(lane.dropped)));
  }
  for (int slot = item.begin + warp; slot < item.end; slot += kDecodeWarps) {
    if (slot >= lane.gap_begin && slot < lane.gap_end) continue;
    const int page = lane.page_ids[slot >> lane.page_shift];
    const auto* keys = reinterpret_cast<const float*>(lane.pages + page * lane.page_stride);
    const int row = slot & (page_tokens - 1);
    pass.Load(keys + row * kHeadDim, key);
    pass.Load(keys + (page_tokens + row) * kHeadDim, value);
    pass.Add(key, value, scale, 0);
  }
}

template <int kHeadDim>
__global__ void __launch_bounds__(kDecodeThreads) AttendLanes(DecodeAttention decode) {
  extern __shared__ __align__(16) std::byte shared[];
  cudaTriggerProgrammaticLaunchCompletion();
  const WarpStates<kHeadDim, kMaxGroup> states{reinterpret_cast<float*>(shared)};
  for (int i = decode.cta_items[blockIdx.x]; i < decode.cta_items[blockIdx.x + 1]; ++i) {
    const DecodeItem& item = decode.items[i];
    for (int first = 0; first < decode.shape.group; first += kPassQueries) {
      const int queries = min(kPassQueries, decode.shape.group - first);
      Pass<kHeadDim> pass;
      pass.Begin(decode, item.lane.query + first, queries);
      AddTokens(decode, item, pass);
      pass.End(states, first, queries);
    }
    __syncthreads();
    StoreStates(decode, item, states);
    __syncthreads();
  }
}

template <int kHeadDim>
DecodeKernel Kernel() {
  return {AttendLanes<kHeadDim>, 2, WarpStates<kHeadDim, kMaxGroup>::kFloats * 4};
}

}  // namespace

DecodeKernel DecodeKernelFloat32(int head_dim) {
  switch (head_dim) {
    case 64:
      return Kernel<64>();
    case 80:
      return Kernel<80>();
    case 96:
      return Kernel<96>();
    case 128:
      return Kernel<128>();
    case 256:
      return Kernel<256>();
    default:
      return {};
  }
}

}  // namespace headlong::cuda
