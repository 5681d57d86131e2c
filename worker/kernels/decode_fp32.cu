// Decode attention for fp32 caches: plain fp32 arithmetic on the same work list. Made to be right
// wherever fp32 is asked for, not to be fast: a warp takes a token at a time, four query heads at a
// time, so keys and values are read ceil(group / 4) times, mostly from the L1.
#include "worker/kernels/decode_pass.cuh"

namespace headlong::cuda {
namespace {

template <int kHeadDim>
__device__ void StorePass(const Pass<kHeadDim>& pass, int first, int queries,
                          const WarpStates<kHeadDim, kMaxGroup>& states) {
  const int warp = threadIdx.x / 32;
  for (int n = 0; n < kPassQueries; ++n) {
    if (n >= queries) break;
    for (int e = 0; e < Pass<kHeadDim>::kElements; ++e) {
      const int i = e * 32 + threadIdx.x % 32;
      if (i < kHeadDim) states.out(warp, first + n)[i] = pass.out[n][e];
    }
    states.peak(warp, first + n) = pass.peak[n];
    states.sum(warp, first + n) = pass.sum[n];
  }
}

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
  LetMergeBegin(decode);
  const WarpStates<kHeadDim, kMaxGroup> states{reinterpret_cast<float*>(shared)};
  for (int i = decode.cta_items[blockIdx.x]; i < decode.cta_items[blockIdx.x + 1]; ++i) {
    const DecodeItem& item = decode.items[i];
    for (int first = 0; first < decode.shape.group; first += kPassQueries) {
      const int queries = min(kPassQueries, decode.shape.group - first);
      Pass<kHeadDim> pass;
      const int64_t row = int64_t{item.lane.query} + first;
      pass.Begin(static_cast<const float*>(decode.q) + row * kHeadDim, queries);
      AddTokens(decode, item, pass);
      StorePass(pass, first, queries, states);
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
