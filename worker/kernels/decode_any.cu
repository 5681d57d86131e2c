// Decode attention for fp32 caches, and for what no other kernel is built for: plain fp32
// arithmetic on the same work list. Made to be right, not to be fast: a warp takes a token at a
// time, four query heads at a time, so keys and values are read ceil(group / 4) times, mostly from
// the L1.
#include "worker/kernels/decode_pass.cuh"
#include "worker/kernels/row_codes.cuh"

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

__device__ DeviceRows RowsOfType(Storage type, int dims) {
  switch (type) {
    case Storage::kFloat32:
      return {type, dims, dims * 4, 0};
    case Storage::kBfloat16:
    case Storage::kFloat16:
      return {type, dims, dims * 2, 0};
    case Storage::kInt4: {
      const int groups = (dims + kCodeGroup - 1) / kCodeGroup;
      return {type, dims, groups * (kCodeGroup / 2), groups};
    }
    default:
      return {type, dims, dims, 1};
  }
}

// The rows of a lane: in pages, and plain ones of first tokens.
struct LaneRows {
  DeviceRows keys, values, sink_keys, sink_values;

  __device__ LaneRows(const DecodeShape& shape, const DecodeLane& lane) {
    const Storage own = StorageOf(shape.type);
    sink_keys = RowsOfType(own, shape.plain ? shape.head_dim : lane.key_dims);
    sink_values = RowsOfType(own, shape.plain ? shape.head_dim : lane.value_dims);
    keys = shape.plain ? sink_keys : RowsOfType(shape.keys, lane.key_dims);
    values = shape.plain ? sink_values : RowsOfType(shape.values, lane.value_dims);
  }
};

// kFloat16: see WithType.
template <bool kFloat16, int kHeadDim>
__device__ void AddTokens(const DecodeAttention& decode, const DecodeItem& item,
                          const LaneRows& rows, Pass<kHeadDim>& pass) {
  const DecodeLane& lane = item.lane;
  const float scale = decode.scale * kLog2e;
  const int warp = threadIdx.x / 32, page_tokens = 1 << lane.page_shift;
  float key[Pass<kHeadDim>::kElements], value[Pass<kHeadDim>::kElements];
  if (item.begin == 0 && lane.dropped > 0 && warp == 0) {
    pass.Load(lane.dropped_sums, rows.keys.dims, key);
    pass.Load(lane.dropped_sums + rows.keys.dims, rows.values.dims, value);
    for (float& x : key) x /= lane.dropped;
    for (float& x : value) x /= lane.dropped;
    pass.Add(key, value, scale, log2f(static_cast<float>(lane.dropped)));
  }
  const int sink_end = item.begin == 0 ? lane.sink_end : 0;
  for (int row = lane.sink_begin + warp; row < sink_end; row += kDecodeWarps) {
    const std::byte* values = lane.sinks + lane.sink_rows * rows.sink_keys.code_bytes;
    LoadRow<kFloat16>(rows.sink_keys, {lane.sinks + row * rows.sink_keys.code_bytes, nullptr}, key);
    LoadRow<kFloat16>(rows.sink_values, {values + row * rows.sink_values.code_bytes, nullptr},
                      value);
    pass.Add(key, value, scale, 0);
  }
  for (int slot = item.begin + warp; slot < item.end; slot += kDecodeWarps) {
    if (slot >= lane.gap_begin && slot < lane.gap_end) continue;
    const int page = lane.page_ids[slot >> lane.page_shift], row = slot & (page_tokens - 1);
    const std::byte* keys = lane.pages + page * lane.page_stride;
    const std::byte* values = keys + page_tokens * RowBytes(rows.keys);
    LoadRow<kFloat16>(rows.keys, RowAt(keys, rows.keys, page_tokens, row), key);
    LoadRow<kFloat16>(rows.values, RowAt(values, rows.values, page_tokens, row), value);
    pass.Add(key, value, scale, 0);
  }
}

template <int kHeadDim, typename Element>
__global__ void __launch_bounds__(kDecodeThreads) AttendLanes(DecodeAttention decode) {
  extern __shared__ __align__(16) std::byte shared[];
  LetMergeBegin(decode);
  WaitForStream();
  const WarpStates<kHeadDim, kMaxGroup> states{reinterpret_cast<float*>(shared)};
  for (int i = decode.cta_items[blockIdx.x]; i < decode.cta_items[blockIdx.x + 1]; ++i) {
    const DecodeItem& item = decode.items[i];
    const LaneRows rows(decode.shape, item.lane);
    for (int first = 0; first < decode.shape.group; first += kPassQueries) {
      const int queries = min(kPassQueries, decode.shape.group - first);
      Pass<kHeadDim> pass;
      const int64_t row = int64_t{item.lane.query} + first;
      pass.Begin(static_cast<const Element*>(decode.q) + row * kHeadDim, queries);
      AddTokens<std::is_same_v<Element, __half>>(decode, item, rows, pass);
      StorePass(pass, first, queries, states);
    }
    __syncthreads();
    StoreStates(decode, item, states);
    __syncthreads();
  }
}

template <int kHeadDim>
DecodeKernel Kernel(const DecodeShape& shape) {
  void (*entry)(DecodeAttention) = nullptr;
  switch (shape.type) {
    case ElementType::kFloat32:
      entry = AttendLanes<kHeadDim, float>;
      break;
    case ElementType::kBfloat16:
      entry = AttendLanes<kHeadDim, __nv_bfloat16>;
      break;
    case ElementType::kFloat16:  // for GPUs that have no room for what decode_mma.cu has of it
      if constexpr (kHeadDim == 256) entry = AttendLanes<kHeadDim, __half>;
      break;
  }
  return {entry, 2, WarpStates<kHeadDim, kMaxGroup>::kFloats * 4};
}

}  // namespace

DecodeKernel DecodeKernelAnyRows(const DecodeShape& shape) {
  switch (shape.head_dim) {
    case 64:
      return Kernel<64>(shape);
    case 80:
      return Kernel<80>(shape);
    case 96:
      return Kernel<96>(shape);
    case 128:
      return Kernel<128>(shape);
    case 256:
      return Kernel<256>(shape);
    default:
      return {};
  }
}

}  // namespace headlong::cuda
