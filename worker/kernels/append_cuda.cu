#include <cuda_bf16.h>

#include "worker/kernels/append_cuda.h"
#include "worker/kernels/append_lane.cuh"

namespace headlong::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kLoadsAhead = 8;

__device__ float2 LoadPair(const float* from) { return *reinterpret_cast<const float2*>(from); }

__device__ void StorePair(float* to, float2 pair) { *reinterpret_cast<float2*>(to) = pair; }
__device__ void StorePair(__nv_bfloat16* to, float2 pair) {
  *reinterpret_cast<__nv_bfloat162*>(to) = __floats2bfloat162_rn(pair.x, pair.y);
}

__device__ float ToFloat(float x) { return x; }
__device__ float ToFloat(__nv_bfloat16 x) { return __bfloat162float(x); }

__global__ void __launch_bounds__(kThreads) MakeRopeTable(RopeTable table) {
  const int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (i >= int64_t{table.rows} * table.half) return;
  const int row = static_cast<int>(i / table.half), column = static_cast<int>(i % table.half);
  const float angle = static_cast<float>(table.positions[row]) * table.inverse_frequencies[column];
  float* to = table.cos_sin + int64_t{row} * 2 * table.half + column;
  to[0] = cosf(angle) * table.scale;
  to[table.half] = sinf(angle) * table.scale;
}

// Where one rotated vector of the fused product goes; null for keys and values of pages that are
// another worker's.
template <typename Element>
__device__ Element* Target(const LayerLanes& lanes, const StoreRows& rows, int row, int vector) {
  const int queries = lanes.heads * lanes.shape.group;
  if (vector < queries) {
    return static_cast<Element*>(rows.q) + (int64_t{row} * queries + vector) * lanes.shape.head_dim;
  }
  const bool value = vector >= queries + lanes.heads;
  const Lane lane = LaneOf(lanes, rows.row_chunks[row], (vector - queries) % lanes.heads);
  const int position = rows.positions[row];
  if (!lane.Owns(position)) return nullptr;
  std::byte* to = lane.chunk.full ? lane.InPage(lane.chunk.write, position) +
                                        (value ? lane.lane_class.half_bytes : 0)
                                  : lane.Fresh(position) + (value ? lane.fresh_half : 0);
  return reinterpret_cast<Element*>(to);
}

// A warp per row and vector of head_dim elements.
template <typename Element>
__global__ void __launch_bounds__(kThreads) RotateAndStore(LayerLanes lanes, StoreRows rows) {
  const int vectors = lanes.heads * (lanes.shape.group + 2);
  const int64_t index = blockIdx.x * int64_t{kWarps} + threadIdx.x / 32;
  const int row = static_cast<int>(index / vectors), vector = static_cast<int>(index % vectors);
  if (row >= rows.rows || rows.row_chunks[row] == kNoChunk) return;
  const int d = lanes.shape.head_dim, half = d / 2;
  const bool rotates = vector < lanes.heads * (lanes.shape.group + 1);
  const float* from = rows.qkv + index * d;
  const float* cosines = rows.cos_sin + int64_t{row} * d;
  Element* to = Target<Element>(lanes, rows, row, vector);
  if (to == nullptr) return;
  for (int i = threadIdx.x % 32 * 2; i < half; i += 64) {
    float2 low = LoadPair(from + i), high = LoadPair(from + half + i);
    if (rotates) {
      const float2 c = LoadPair(cosines + i), s = LoadPair(cosines + half + i);
      const float2 a = low, b = high;
      low = {a.x * c.x - b.x * s.x, a.y * c.y - b.y * s.y};
      high = {b.x * c.x + a.x * s.x, b.y * c.y + a.y * s.y};
    }
    StorePair(to + i, low);
    StorePair(to + half + i, high);
  }
}

// The sum of one block that leaves, into the token entry that the running sum will take.
template <typename Element>
__global__ void __launch_bounds__(kThreads) SumBlocks(LayerLanes lanes, const BlockJob* jobs) {
  const BlockJob job = jobs[blockIdx.x];
  if (job.chunk == kNoChunk) return;
  const Lane lane = LaneOf(lanes, job.chunk, blockIdx.y);
  const ChunkLanes& chunk = lane.chunk;
  if (job.block >= chunk.fold_blocks) return;
  const int block_begin = (chunk.fold_begin / kBlockRows + job.block) * kBlockRows;
  const int begin = max(chunk.fold_begin, block_begin), d = lanes.shape.head_dim;
  float* to = TokenOf(lanes, chunk, blockIdx.y, job.block + 1);
  for (int i = threadIdx.x; i < 2 * d; i += kThreads) {
    const bool value = i >= d;
    float sum = 0;
#pragma unroll
    for (int r = 0; r < kBlockRows; ++r) {
      const int p = block_begin + r;
      if (p < begin) continue;
      const std::byte* row = p >= chunk.fresh_begin ? lane.Fresh(p) + (value ? lane.fresh_half : 0)
                                                    : lane.InPage(chunk.read, p) +
                                                          (value ? lane.lane_class.half_bytes : 0);
      sum += ToFloat(reinterpret_cast<const Element*>(row)[value ? i - d : i]);
    }
    to[i] = sum;
  }
}

// Running sums over the blocks of a chunk's lane: a thread per element, loads ahead of the adds.
__global__ void RunSums(LayerLanes lanes, const int32_t* chunks) {
  if (chunks[blockIdx.x] == kNoChunk) return;
  const HeadPlace place = lanes.places[blockIdx.y];
  const ChunkLanes& chunk = lanes.chunks[chunks[blockIdx.x] * lanes.class_count + place.lane_class];
  if (!chunk.compensates) return;
  const DeviceClass& lane_class = lanes.classes[place.lane_class];
  const int width = 2 * lanes.shape.head_dim;
  float* sums =
      lane_class.sums + (int64_t{chunk.slot} * lane_class.lanes + place.lane) * width + threadIdx.x;
  float* token = TokenOf(lanes, chunk, blockIdx.y, 0) + threadIdx.x;
  float running = *sums;
  *token = running;
  for (int first = 1; first <= chunk.fold_blocks; first += kLoadsAhead) {
    float block[kLoadsAhead];
#pragma unroll
    for (int i = 0; i < kLoadsAhead; ++i) {
      block[i] = first + i <= chunk.fold_blocks ? token[int64_t{first + i} * width] : 0;
    }
#pragma unroll
    for (int i = 0; i < kLoadsAhead; ++i) {
      if (first + i > chunk.fold_blocks) break;
      running += block[i];
      token[int64_t{first + i} * width] = running;
    }
  }
  *sums = running;
}

__global__ void __launch_bounds__(kThreads) KeepRows(LayerLanes lanes, const BlockJob* jobs) {
  const BlockJob job = jobs[blockIdx.x];
  if (job.chunk == kNoChunk) return;
  const Lane lane = LaneOf(lanes, job.chunk, blockIdx.y);
  const ChunkLanes& chunk = lane.chunk;
  const int quads = lane.row_bytes / 16;
  for (int i = threadIdx.x; i < kBlockRows * 2 * quads; i += kThreads) {
    const int p = job.block * kBlockRows + i / (2 * quads);
    if (p < chunk.fresh_begin || p >= chunk.end) continue;
    if (p >= chunk.keep_sinks && p < chunk.keep_begin) continue;
    const int quad = i % quads;
    const bool value = i / quads % 2 != 0;
    const auto* from =
        reinterpret_cast<const uint4*>(lane.Fresh(p) + (value ? lane.fresh_half : 0));
    auto* to = reinterpret_cast<uint4*>(lane.InPage(chunk.write, p) +
                                        (value ? lane.lane_class.half_bytes : 0));
    to[quad] = from[quad];
  }
}

unsigned Blocks(int64_t items, int per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

bool IsFloat32(const LayerLanes& lanes) { return lanes.shape.type == ElementType::kFloat32; }

}  // namespace

cudaError_t LaunchRopeTable(const RopeTable& table, cudaStream_t stream) {
  MakeRopeTable<<<Blocks(int64_t{table.rows} * table.half, kThreads), kThreads, 0, stream>>>(table);
  return cudaGetLastError();
}

cudaError_t LaunchStore(const LayerLanes& lanes, const StoreRows& rows, cudaStream_t stream) {
  const int64_t vectors = int64_t{rows.rows} * lanes.heads * (lanes.shape.group + 2);
  const auto kernel = IsFloat32(lanes) ? RotateAndStore<float> : RotateAndStore<__nv_bfloat16>;
  kernel<<<Blocks(vectors, kWarps), kThreads, 0, stream>>>(lanes, rows);
  return cudaGetLastError();
}

cudaError_t LaunchFold(const LayerLanes& lanes, const FoldJobs& jobs, cudaStream_t stream) {
  const auto heads = static_cast<unsigned>(lanes.heads);
  if (jobs.block_count > 0) {
    const auto kernel = IsFloat32(lanes) ? SumBlocks<float> : SumBlocks<__nv_bfloat16>;
    const auto blocks = static_cast<unsigned>(jobs.block_count);
    kernel<<<dim3(blocks, heads), kThreads, 0, stream>>>(lanes, jobs.blocks);
  }
  if (jobs.chunk_count > 0) {
    const auto chunks = static_cast<unsigned>(jobs.chunk_count);
    RunSums<<<dim3(chunks, heads), 2 * lanes.shape.head_dim, 0, stream>>>(lanes, jobs.chunks);
  }
  return cudaGetLastError();
}

cudaError_t LaunchKeep(const LayerLanes& lanes, const BlockJob* jobs, int count,
                       cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  KeepRows<<<dim3(count, lanes.heads), kThreads, 0, stream>>>(lanes, jobs);
  return cudaGetLastError();
}

}  // namespace headlong::cuda
