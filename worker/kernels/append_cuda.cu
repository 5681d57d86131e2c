#include <cuda_bf16.h>

#include "worker/kernels/append_cuda.h"
#include "worker/kernels/append_lane.cuh"
#include "worker/kernels/launch.cuh"
#include "worker/kernels/row_encode.cuh"

namespace headlong::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kLoadsAhead = 8;
constexpr int kMostDims = 256;

__device__ float2 LoadPair(const float* from) { return *reinterpret_cast<const float2*>(from); }

__device__ void StorePair(float* to, float2 pair) { *reinterpret_cast<float2*>(to) = pair; }
__device__ void StorePair(__nv_bfloat16* to, float2 pair) {
  *reinterpret_cast<__nv_bfloat162*>(to) = __floats2bfloat162_rn(pair.x, pair.y);
}
__device__ void StorePair(__half* to, float2 pair) {
  *reinterpret_cast<__half2*>(to) = __floats2half2_rn(WithinFloat16(pair.x), WithinFloat16(pair.y));
}

__global__ void __launch_bounds__(kThreads) MakeRopeTable(RopeTable table) {
  const int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (i >= int64_t{table.rows} * table.half) return;
  const int row = static_cast<int>(i / table.half), column = static_cast<int>(i % table.half);
  const float angle = static_cast<float>(table.positions[row]) * table.inverse_frequencies[column];
  float* to = table.cos_sin + int64_t{row} * 2 * table.half + column;
  to[0] = cosf(angle) * table.scale;
  to[table.half] = sinf(angle) * table.scale;
}

// A row and vector of head_dim elements as a warp sees it.
struct Vector {
  int row, index, head;
  bool rotates, query, value;

  __device__ Vector(const LayerLanes& lanes, int the_row, int vector)
      : row(the_row),
        index(vector),
        head((vector - lanes.heads * lanes.shape.group) % lanes.heads),
        rotates(vector < lanes.heads * (lanes.shape.group + 1)),
        query(vector < lanes.heads * lanes.shape.group),
        value(!rotates) {}
};

// The pair of elements at i and at half + i, rotated.
struct Halves {
  float2 low, high;
};

__device__ Halves Rotated(const StoreRows& rows, const Vector& vector, const float* from, int half,
                          int i) {
  Halves x = {LoadPair(from + i), LoadPair(from + half + i)};
  if (!vector.rotates || rows.rotated) return x;
  const float* cosines = rows.cos_sin + int64_t{vector.row} * 2 * half;
  const float2 c = LoadPair(cosines + i), s = LoadPair(cosines + half + i);
  const float2 a = x.low, b = x.high;
  x.low = {a.x * c.x - b.x * s.x, a.y * c.y - b.y * s.y};
  x.high = {b.x * c.x + a.x * s.x, b.y * c.y + a.y * s.y};
  return x;
}

template <typename Element>
__device__ void StoreRotated(const StoreRows& rows, const Vector& vector, const float* from,
                             int half, Element* to) {
  for (int i = threadIdx.x % 32 * 2; i < half; i += 64) {
    const Halves x = Rotated(rows, vector, from, half, i);
    StorePair(to + i, x.low);
    StorePair(to + half + i, x.high);
  }
}

// Where a lane keeps the row of a position; null codes where it is another worker's.
__device__ RowPlace PlaceOf(const Lane& lane, bool value, int position) {
  if (!lane.Owns(position)) return {};
  return lane.chunk.full ? lane.InPage(value, lane.chunk.write, position)
                         : lane.Fresh(value, position);
}

// A row of a lane that is not plain: by way of shared memory, since codes want other numbers in a
// thread than rotation gives it.
__device__ void StoreCoded(const Lane& lane, const Vector& vector, int position,
                           const float* numbers, RowPlace place) {
  if (place.codes != nullptr) EncodeRow(numbers, lane.Rows(vector.value), place);
  if (!lane.IsSink(position)) return;
  DeviceRows plain = lane.Rows(vector.value);
  // Of caches in fp16 there are no codes.
  plain.type = lane.own_bytes == 4 ? Storage::kFloat32 : Storage::kBfloat16;
  plain.scales = 0;
  std::byte* const to =
      lane.chunk.full ? lane.Sink(vector.value, position) : lane.FreshSink(vector.value, position);
  EncodeRow(numbers, plain, {to, nullptr});
}

// A warp per row and vector of head_dim elements. The batch's lists came before the step's first
// kernel: where vectors go is looked up while the kernel before ends.
template <typename Element>
__global__ void __launch_bounds__(kThreads) RotateAndStore(LayerLanes lanes, StoreRows rows) {
  __shared__ float numbers[kWarps][kMostDims];
  const int vectors = lanes.heads * (lanes.shape.group + 2);
  const int64_t index = blockIdx.x * int64_t{kWarps} + threadIdx.x / 32;
  const int row = static_cast<int>(index / vectors);
  if (row >= rows.rows || rows.row_chunks[row] == kNoChunk) return WaitForStream();
  const Vector vector(lanes, row, static_cast<int>(index % vectors));
  const int d = lanes.shape.head_dim, half = d / 2;
  const float* from = rows.qkv + index * d;
  if (vector.query) {
    const int64_t to = int64_t{row} * lanes.heads * lanes.shape.group + vector.index;
    WaitForStream();
    return StoreRotated(rows, vector, from, half, static_cast<Element*>(rows.q) + to * d);
  }
  const Lane lane = LaneOf(lanes, rows.row_chunks[row], vector.head);
  const int position = rows.positions[row];
  const RowPlace to = PlaceOf(lane, vector.value, position);
  WaitForStream();
  if (lane.lane_class.plain) {
    if (to.codes == nullptr) return;
    return StoreRotated(rows, vector, from, half, reinterpret_cast<Element*>(to.codes));
  }
  float* const shared = numbers[threadIdx.x / 32];
  StoreRotated(rows, vector, from, half, shared);
  __syncwarp();
  StoreCoded(lane, vector, position, shared, to);
}

// Of the positions of a block that leave, number i of their keys or values.
template <Storage kType>
__device__ float SumOf(const Lane& lane, bool value, int block_begin, int i) {
  const int begin = max(lane.chunk.fold_begin, block_begin);
  float sum = 0;
#pragma unroll
  for (int r = 0; r < kBlockRows; ++r) {
    const int p = block_begin + r;
    if (p < begin) continue;
    const RowPlace row =
        p >= lane.chunk.fresh_begin ? lane.Fresh(value, p) : lane.InPage(value, lane.chunk.read, p);
    sum += NumberOf<kType>(row.codes, row.scales, i);
  }
  return sum;
}

// The sum of one block that leaves, into the token entry that the running sum will take. kFloat16:
// see WithType.
template <bool kFloat16>
__global__ void __launch_bounds__(kThreads) SumBlocks(LayerLanes lanes, const BlockJob* jobs) {
  const BlockJob job = jobs[blockIdx.x];
  if (job.chunk == kNoChunk) return;
  const Lane lane = LaneOf(lanes, job.chunk, blockIdx.y);
  if (job.block >= lane.chunk.fold_blocks) return;
  const int block_begin = (lane.chunk.fold_begin / kBlockRows + job.block) * kBlockRows;
  const int keys = lane.lane_class.keys.dims, width = keys + lane.lane_class.values.dims;
  float* to = TokenOf(lanes, lane.chunk, blockIdx.y, job.block + 1);
  for (int i = threadIdx.x; i < width; i += kThreads) {
    const bool value = i >= keys;
    to[i] = WithType<kFloat16>(lane.Rows(value).type, [&](auto type) {
      return SumOf<decltype(type)::value>(lane, value, block_begin, value ? i - keys : i);
    });
  }
}

// Running sums over the blocks of a chunk's lane: a thread per element, loads ahead of the adds.
__global__ void RunSums(LayerLanes lanes, const int32_t* chunks) {
  if (chunks[blockIdx.x] == kNoChunk) return;
  const HeadPlace place = lanes.places[blockIdx.y];
  const ChunkLanes& chunk = lanes.chunks[chunks[blockIdx.x] * lanes.class_count + place.lane_class];
  if (!chunk.compensates) return;
  const DeviceClass& lane_class = lanes.classes[place.lane_class];
  const int width = lane_class.keys.dims + lane_class.values.dims;
  const int stride = 2 * lanes.shape.head_dim;  // of tokens
  if (static_cast<int>(threadIdx.x) >= width) return;
  float* sums =
      lane_class.sums + (int64_t{chunk.slot} * lane_class.lanes + place.lane) * width + threadIdx.x;
  float* token = TokenOf(lanes, chunk, blockIdx.y, 0) + threadIdx.x;
  float running = *sums;
  *token = running;
  for (int first = 1; first <= chunk.fold_blocks; first += kLoadsAhead) {
    float block[kLoadsAhead];
#pragma unroll
    for (int i = 0; i < kLoadsAhead; ++i) {
      block[i] = first + i <= chunk.fold_blocks ? token[int64_t{first + i} * stride] : 0;
    }
#pragma unroll
    for (int i = 0; i < kLoadsAhead; ++i) {
      if (first + i > chunk.fold_blocks) break;
      running += block[i];
      token[int64_t{first + i} * stride] = running;
    }
  }
  *sums = running;
}

// All of a row: codes in units of 16 bytes, scales in units of 2, by a warp.
__device__ void CopyRow(const DeviceRows& rows, RowPlace from, RowPlace to) {
  const int thread = threadIdx.x % 32;
  for (int i = thread; i < rows.code_bytes / 16; i += 32) {
    reinterpret_cast<uint4*>(to.codes)[i] = reinterpret_cast<const uint4*>(from.codes)[i];
  }
  for (int i = thread; i < rows.scales; i += 32) {
    reinterpret_cast<uint16_t*>(to.scales)[i] = reinterpret_cast<const uint16_t*>(from.scales)[i];
  }
}

// A warp per row.
__global__ void __launch_bounds__(kThreads) KeepRows(LayerLanes lanes, const BlockJob* jobs) {
  const BlockJob job = jobs[blockIdx.x];
  if (job.chunk == kNoChunk) return WaitForStream();
  const Lane lane = LaneOf(lanes, job.chunk, blockIdx.y);
  const ChunkLanes& chunk = lane.chunk;
  WaitForStream();
  for (int i = threadIdx.x / 32; i < kBlockRows * 2; i += kWarps) {
    const int p = job.block * kBlockRows + i / 2;
    const bool value = i % 2 != 0;
    if (p < chunk.fresh_begin || p >= chunk.end) continue;
    if (p >= chunk.keep_sinks && p < chunk.keep_begin) continue;
    CopyRow(lane.Rows(value), lane.Fresh(value, p), lane.InPage(value, chunk.write, p));
    if (!lane.IsSink(p)) continue;
    DeviceRows plain = lane.Rows(value);
    plain.code_bytes = plain.dims * lane.own_bytes;
    plain.scales = 0;
    CopyRow(plain, {lane.FreshSink(value, p), nullptr}, {lane.Sink(value, p), nullptr});
  }
}

unsigned Blocks(int64_t items, int per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

auto StoreKernel(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return RotateAndStore<float>;
    case ElementType::kFloat16:
      return RotateAndStore<__half>;
    case ElementType::kBfloat16:
      break;
  }
  return RotateAndStore<__nv_bfloat16>;
}

}  // namespace

cudaError_t LaunchRopeTable(const RopeTable& table, cudaStream_t stream) {
  MakeRopeTable<<<Blocks(int64_t{table.rows} * table.half, kThreads), kThreads, 0, stream>>>(table);
  return cudaGetLastError();
}

cudaError_t LaunchStore(const LayerLanes& lanes, const StoreRows& rows, cudaStream_t stream) {
  const int64_t vectors = int64_t{rows.rows} * lanes.heads * (lanes.shape.group + 2);
  if (vectors == 0) return cudaSuccess;
  const auto kernel = StoreKernel(lanes.shape.type);
  Launch(kernel, {Blocks(vectors, kWarps), kThreads}, stream, lanes, rows);
  return cudaSuccess;
}

cudaError_t LaunchFold(const LayerLanes& lanes, const FoldJobs& jobs, cudaStream_t stream) {
  const auto heads = static_cast<unsigned>(lanes.heads);
  if (jobs.block_count > 0) {
    const auto blocks = static_cast<unsigned>(jobs.block_count);
    const bool float16 = lanes.shape.type == ElementType::kFloat16;
    const auto kernel = float16 ? SumBlocks<true> : SumBlocks<false>;
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
  Launch(KeepRows, {count, kThreads, lanes.heads}, stream, lanes, jobs);
  return cudaSuccess;
}

}  // namespace headlong::cuda
