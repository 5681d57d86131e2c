// Attention of prompts' chunks for fp32 caches: plain fp32 arithmetic, made to be right and not to
// be fast. A warp per position and head takes a key at a time, four query heads at a time.
#include "worker/kernels/append_lane.cuh"
#include "worker/kernels/decode_pass.cuh"
#include "worker/kernels/prefill_cuda.h"
#include "worker/kernels/row_codes.cuh"

namespace headlong::cuda {
namespace {

constexpr int kTilePositions = 8;  // one per warp

template <int kHeadDim>
__device__ void AddSinks(const Lane& lane, int begin, int end, float scale, Pass<kHeadDim>& pass) {
  float key[Pass<kHeadDim>::kElements], value[Pass<kHeadDim>::kElements];
  for (int p = begin; p < end; ++p) {
    const bool fresh = p >= lane.chunk.fresh_begin;
    const auto row = [&](bool of_value) {
      return reinterpret_cast<const float*>(fresh ? lane.FreshSink(of_value, p)
                                                  : lane.Sink(of_value, p));
    };
    pass.Load(row(false), lane.lane_class.keys.dims, key);
    pass.Load(row(true), lane.lane_class.values.dims, value);
    pass.Add(key, value, scale, 0);
  }
}

__device__ ConstRow RowOf(const Lane& lane, bool value, int p) {
  return p >= lane.chunk.fresh_begin ? lane.Fresh(value, p)
                                     : lane.InPage(value, lane.chunk.read, p);
}

template <int kHeadDim>
__device__ void AddRange(const Lane& lane, int begin, int end, float scale, Pass<kHeadDim>& pass) {
  float key[Pass<kHeadDim>::kElements], value[Pass<kHeadDim>::kElements];
  for (int p = begin; p < end; ++p) {
    if (!lane.Owns(p)) continue;
    LoadRow(lane.Rows(false), RowOf(lane, false, p), key);
    LoadRow(lane.Rows(true), RowOf(lane, true, p), value);
    pass.Add(key, value, scale, 0);
  }
}

template <int kHeadDim>
__device__ void AddVisible(const PrefillAttention& prefill, const Lane& lane, int m,
                           Pass<kHeadDim>& pass) {
  const ChunkLanes& chunk = lane.chunk;
  const float scale = prefill.scale * kLog2e;
  const int lo = WindowBegin(chunk, m), dropped = lo - chunk.sinks;
  if (chunk.compensates && dropped > 0) {
    float key[Pass<kHeadDim>::kElements], value[Pass<kHeadDim>::kElements];
    const int blocks = lo / kBlockRows - chunk.fold_begin / kBlockRows;
    const float* token = TokenOf(prefill.lanes, chunk, blockIdx.x, blocks);
    const int keys = lane.lane_class.keys.dims;
    pass.Load(token, keys, key);
    pass.Load(token + keys, lane.lane_class.values.dims, value);
    for (float& x : key) x /= dropped;
    for (float& x : value) x /= dropped;
    pass.Add(key, value, scale, log2f(static_cast<float>(dropped)));
  }
  const int bound = prefill.lanes.window > 0 ? m + 1 - prefill.lanes.window : 0;
  // Plain rows of first tokens belong to the worker that holds the lane's first page.
  const int plain = min(lane.lane_class.sink_tokens, m + 1);
  if (lane.Owns(0)) AddSinks(lane, max(bound, 0), plain, scale, pass);
  AddRange(lane, max(bound, plain), min(chunk.sinks, m + 1), scale, pass);
  AddRange(lane, max(max(bound, lo), plain), m + 1, scale, pass);
}

template <int kHeadDim>
__global__ void __launch_bounds__(kTilePositions * 32) AttendTiles(PrefillAttention prefill) {
  const PrefillTile tile = prefill.tiles[blockIdx.y];
  const LayerLanes& lanes = prefill.lanes;
  const Lane lane = LaneOf(lanes, tile.chunk, blockIdx.x);
  const int offset = tile.first + threadIdx.x / 32, m = lane.chunk.position + offset;
  if (m >= lane.chunk.end) return;
  const int group = lanes.shape.group;
  const int64_t row =
      (int64_t{lane.chunk.first_row + offset} * lanes.heads + blockIdx.x) * group * kHeadDim;
  for (int first = 0; first < group; first += kPassQueries) {
    const int queries = min(kPassQueries, group - first);
    Pass<kHeadDim> pass;
    pass.Begin(static_cast<const float*>(prefill.q) + row + first * kHeadDim, queries);
    AddVisible(prefill, lane, m, pass);
    for (int n = 0; n < kPassQueries; ++n) {
      if (n >= queries) break;
      const float inverse = pass.sum[n] == 0 ? 0 : 1 / pass.sum[n];
      if (prefill.lse != nullptr && threadIdx.x % 32 == 0) {
        prefill.lse[row / kHeadDim + first + n] =
            pass.sum[n] == 0 ? kMinusInfinity : (pass.peak[n] + log2f(pass.sum[n])) * kLn2;
      }
      for (int e = 0; e < Pass<kHeadDim>::kElements; ++e) {
        const int i = e * 32 + threadIdx.x % 32;
        if (i < kHeadDim) prefill.out[row + (first + n) * kHeadDim + i] = pass.out[n][e] * inverse;
      }
    }
  }
}

template <int kHeadDim>
PrefillKernel Kernel(int group) {
  return {AttendTiles<kHeadDim>, kTilePositions * 32, 0, kTilePositions * group};
}

}  // namespace

PrefillKernel PrefillKernelFloat32(int head_dim, int group) {
  switch (head_dim) {
    case 64:
      return Kernel<64>(group);
    case 80:
      return Kernel<80>(group);
    case 96:
      return Kernel<96>(group);
    case 128:
      return Kernel<128>(group);
    case 256:
      return Kernel<256>(group);
    default:
      return {};
  }
}

}  // namespace headlong::cuda
