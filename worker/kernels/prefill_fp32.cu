// Attention of prompts' chunks for fp32 caches: plain fp32 arithmetic, made to be right and not to
// be fast. A warp per position and head takes a key at a time, four query heads at a time.
#include "worker/kernels/append_lane.cuh"
#include "worker/kernels/decode_pass.cuh"
#include "worker/kernels/prefill_cuda.h"

namespace headlong::cuda {
namespace {

constexpr int kTilePositions = 8;  // one per warp

template <int kHeadDim>
__device__ void AddRange(const Lane& lane, int begin, int end, float scale, Pass<kHeadDim>& pass) {
  float key[Pass<kHeadDim>::kElements], value[Pass<kHeadDim>::kElements];
  for (int p = begin; p < end; ++p) {
    if (!lane.Owns(p)) continue;
    const bool fresh = p >= lane.chunk.fresh_begin;
    const std::byte* row = fresh ? lane.Fresh(p) : lane.InPage(lane.chunk.read, p);
    const int64_t half = fresh ? lane.fresh_half : lane.lane_class.half_bytes;
    pass.Load(reinterpret_cast<const float*>(row), key);
    pass.Load(reinterpret_cast<const float*>(row + half), value);
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
    pass.Load(token, key);
    pass.Load(token + kHeadDim, value);
    for (float& x : key) x /= dropped;
    for (float& x : value) x /= dropped;
    pass.Add(key, value, scale, log2f(static_cast<float>(dropped)));
  }
  const int bound = prefill.lanes.window > 0 ? m + 1 - prefill.lanes.window : 0;
  AddRange(lane, max(bound, 0), min(chunk.sinks, m + 1), scale, pass);
  AddRange(lane, max(bound, lo), m + 1, scale, pass);
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
