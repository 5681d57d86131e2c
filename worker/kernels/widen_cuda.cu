#include "worker/kernels/prefill_widen.cuh"
#include "worker/kernels/widen_cuda.h"

namespace headlong::cuda {
namespace {

constexpr int kThreads = 256;

// Keys or values at positions [begin, end) of a lane. to: where position 0 would be.
template <Storage kType>
__device__ void WidenRows(const Lane& lane, bool value, int begin, int end, int head_dim,
                          std::byte* to) {
  const int quads = head_dim / 8;
  const uint32_t pair128 = Pair128();
#pragma unroll 4
  for (int index = threadIdx.x; index < (end - begin) * quads; index += kThreads) {
    const int p = begin + index / quads, quad = index % quads;
    const bool fresh = p >= lane.chunk.fresh_begin;
    uint4 numbers;
    if (lane.IsSink(p)) {
      const std::byte* row = fresh ? lane.FreshSink(value, p) : lane.Sink(value, p);
      numbers = reinterpret_cast<const uint4*>(row)[quad];
    } else {
      EightCodes<kType> eight;
      eight.Load(fresh ? lane.Fresh(value, p) : lane.InPage(value, lane.chunk.read, p), quad);
      numbers = eight.Widen(quad, pair128);
    }
    reinterpret_cast<uint4*>(to + int64_t{p} * head_dim * 2)[quad] = numbers;
  }
}

__global__ void __launch_bounds__(kThreads) Widen(WidenLanes widen) {
  const LayerLanes& lanes = widen.lanes;
  const int chunk = static_cast<int>(blockIdx.x) / widen.blocks();
  const int block = static_cast<int>(blockIdx.x) % widen.blocks();
  const int head = widen.to.first_head + static_cast<int>(blockIdx.y);
  const ChunkLanes& to_chunk =
      widen.to_chunks[chunk * lanes.class_count + lanes.places[head].lane_class];
  const int begin = to_chunk.fresh_begin + block * WidenLanes::kRows;
  const int end = min(begin + WidenLanes::kRows, to_chunk.end), d = lanes.shape.head_dim;
  if (!to_chunk.widened || begin >= end) return;
  const Lane lane = LaneOf(lanes, chunk, head);
  const int64_t side = int64_t{widen.to.capacity} * d * 2;
  std::byte* to =
      widen.to.memory + blockIdx.y * widen.to.head_bytes + int64_t{to_chunk.fresh_first} * d * 2;
  for (const bool value : {false, true}) {
    WithType(lane.Rows(value).type, [&](auto type) {
      constexpr Storage kType = decltype(type)::value;
      if constexpr (kType != Storage::kFloat32) {
        WidenRows<kType>(lane, value, begin, end, d, value ? to + side : to);
      }
    });
  }
}

}  // namespace

cudaError_t LaunchWiden(const WidenLanes& widen, cudaStream_t stream) {
  // One in z: see Pair128.
  const dim3 grid(widen.blocks() * widen.chunk_count, widen.head_end - widen.to.first_head);
  Widen<<<grid, kThreads, 0, stream>>>(widen);
  return cudaGetLastError();
}

}  // namespace headlong::cuda
