#include <algorithm>
#include <iterator>

#include "worker/kernels/decode_cuda.h"
#include "worker/kernels/decode_state.cuh"

namespace headlong::cuda {
namespace {

constexpr int kMergeWarps = 16;
constexpr int kMaxQuads = 2;    // of a thread: 256 elements / 32 threads / 4
constexpr int kMergeBatch = 8;  // parts that a warp has on the way at once

__device__ void Scale(float4& x, float factor) {
  x = {x.x * factor, x.y * factor, x.z * factor, x.w * factor};
}

__device__ void AddScaled(float4& sum, float weight, float4 x) {
  sum.x += weight * x.x;
  sum.y += weight * x.y;
  sum.z += weight * x.z;
  sum.w += weight * x.w;
}

// One block per (lane that was cut, query head): out = sum of parts weighted by exp(lse - lse_all).
// Its warps take parts in turns, each about a peak of its own, so that no load waits for another.
// Bytes: parts * group * (head_dim + 1) * 4, out of the L2.
__global__ void MergeParts(DecodeAttention decode) {
  __shared__ float4 sums[kMergeWarps][kMaxQuads * 32];
  __shared__ float peaks[kMergeWarps], weights[kMergeWarps];
  const DecodeMerge merge = decode.merges[blockIdx.x];
  WaitForStream();
  if (merge.count == 0) return;
  const int warp = threadIdx.x / 32, thread = threadIdx.x % 32;
  const int group = decode.shape.group, quads = decode.shape.head_dim / 4;
  const float* lse = decode.part_lse + int64_t{merge.first} * group + blockIdx.y;
  const float4* out = reinterpret_cast<const float4*>(decode.part_out) +
                      (int64_t{merge.first} * group + blockIdx.y) * quads;
  float peak = kMinusInfinity, total = 0;
  float4 sum[kMaxQuads] = {};
  for (int first = warp; first < merge.count; first += kMergeWarps * kMergeBatch) {
    float4 o[kMaxQuads][kMergeBatch];
    float logs[kMergeBatch], new_peak = peak;
#pragma unroll
    for (int i = 0; i < kMergeBatch; ++i) {
      const int p = first + i * kMergeWarps;
      logs[i] = p < merge.count ? lse[p * group] : kMinusInfinity;
#pragma unroll
      for (int k = 0; k < kMaxQuads; ++k) {
        const int quad = k * 32 + thread;
        o[k][i] = p < merge.count && quad < quads ? out[int64_t{p} * group * quads + quad]
                                                  : float4{0, 0, 0, 0};
      }
    }
#pragma unroll
    for (const float x : logs) new_peak = fmaxf(new_peak, x);
    const float finite_peak = new_peak == kMinusInfinity ? 0 : new_peak;
    const float rescale = expf(peak - finite_peak);
    peak = new_peak;
    total *= rescale;
#pragma unroll
    for (int k = 0; k < kMaxQuads; ++k) Scale(sum[k], rescale);
#pragma unroll
    for (int i = 0; i < kMergeBatch; ++i) {
      const float weight = expf(logs[i] - finite_peak);
      total += weight;
#pragma unroll
      for (int k = 0; k < kMaxQuads; ++k) AddScaled(sum[k], weight, o[k][i]);
    }
  }
  for (int k = 0; k < kMaxQuads; ++k) sums[warp][k * 32 + thread] = sum[k];
  if (thread == 0) {
    peaks[warp] = peak;
    weights[warp] = total;
  }
  __syncthreads();
  peak = kMinusInfinity;
  for (const float x : peaks) peak = fmaxf(peak, x);
  const float finite_peak = peak == kMinusInfinity ? 0 : peak;
  const int element = threadIdx.x;
  const int64_t row = merge.query + blockIdx.y;
  if (element >= decode.shape.head_dim) return;
  float x = 0;
  total = 0;
  for (int w = 0; w < kMergeWarps; ++w) {
    const float weight = expf(peaks[w] - finite_peak);
    x += weight * reinterpret_cast<const float*>(sums[w])[element];
    total += weight * weights[w];
  }
  decode.out[row * decode.shape.head_dim + element] = total == 0 ? 0 : x / total;
  if (element == 0) decode.lse[row] = total == 0 ? kMinusInfinity : peak + logf(total);
}

constexpr int kMoveThreads = 128;

__global__ void __launch_bounds__(kMoveThreads) ShiftItems(MoveItems move) {
  const MovedItems layer = move.layers[blockIdx.y];
  const int index = blockIdx.x * kMoveThreads + threadIdx.x;
  if (index >= *layer.count) return;
  DecodeItem item = layer.from[index];
  const LaneShift shift = layer.shifts[item.lane.query / move.group % layer.heads];
  item.lane.pages += shift.page_bytes;
  if (item.lane.dropped_sums != nullptr) item.lane.dropped_sums += shift.sums;
  if (item.lane.sinks != nullptr) item.lane.sinks += shift.sink_bytes;
  layer.to[index] = item;
}

// Of rows that a cache in bf16 stores on either side.
using KernelOfPair = DecodeKernel (*)(int head_dim, int group);
constexpr Storage kStored[] = {Storage::kBfloat16, Storage::kFloat8, Storage::kInt8,
                               Storage::kInt4};
constexpr KernelOfPair kKernelsOfPairs[4][4] = {  // [keys][values]
    {DecodeKernelBfloat16Bfloat16, DecodeKernelBfloat16Float8, DecodeKernelBfloat16Int8,
     DecodeKernelBfloat16Int4},
    {DecodeKernelFloat8Bfloat16, DecodeKernelFloat8Float8, DecodeKernelFloat8Int8,
     DecodeKernelFloat8Int4},
    {DecodeKernelInt8Bfloat16, DecodeKernelInt8Float8, DecodeKernelInt8Int8, DecodeKernelInt8Int4},
    {DecodeKernelInt4Bfloat16, DecodeKernelInt4Float8, DecodeKernelInt4Int8, DecodeKernelInt4Int4}};

// None: the slow one does.
DecodeKernel KernelOfRows(const DecodeShape& shape) {
  if (shape.type != ElementType::kBfloat16) return {};
  const auto* keys = std::find(std::begin(kStored), std::end(kStored), shape.keys);
  const auto* values = std::find(std::begin(kStored), std::end(kStored), shape.values);
  if (keys == std::end(kStored) || values == std::end(kStored)) return {};
  return kKernelsOfPairs[keys - kStored][values - kStored](shape.head_dim, shape.group);
}

DecodeKernel KernelOfPlainRows(const DecodeShape& shape) {
  switch (shape.type) {
    case ElementType::kFloat32:
      return DecodeKernelAnyRows(shape);
    case ElementType::kBfloat16:
      return DecodeKernelBfloat16(shape.head_dim, shape.group);
    case ElementType::kFloat16:
      return DecodeKernelFloat16(shape.head_dim, shape.group);
  }
  return {};
}

DecodeKernel KernelFor(const DecodeShape& shape) {
  if (shape.group < 1 || shape.group > kMaxGroup) return {};
  const DecodeKernel kernel = shape.plain ? KernelOfPlainRows(shape) : KernelOfRows(shape);
  // Of GPUs with less shared memory than Hopper's, some have no room for the rings of such rows.
  const bool may_be_slow = !shape.plain || shape.head_dim == 256;
  return kernel.entry == nullptr && may_be_slow ? DecodeKernelAnyRows(shape) : kernel;
}

}  // namespace

int PrepareDecode(const DecodeShape& shape) {
  const DecodeKernel kernel = KernelFor(shape);
  int device = 0, multiprocessors = 0;
  if (kernel.entry == nullptr || cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device) !=
          cudaSuccess ||
      cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel.entry),
                           cudaFuncAttributeMaxDynamicSharedMemorySize,
                           kernel.shared_bytes) != cudaSuccess) {
    return 0;
  }
  return multiprocessors * kernel.ctas_per_multiprocessor;
}

cudaError_t LaunchDecode(const DecodeAttention& decode, cudaStream_t stream) {
  const DecodeKernel kernel = KernelFor(decode.shape);
  if (kernel.entry == nullptr) return cudaErrorInvalidValue;
  cudaLaunchConfig_t launch = {};
  launch.gridDim = dim3(decode.ctas);
  launch.blockDim = dim3(kDecodeThreads);
  launch.dynamicSmemBytes = kernel.shared_bytes;
  launch.stream = stream;
  // Each begins while the kernel before it ends, and waits on the device.
  cudaLaunchAttribute early = {};
  launch.attrs = &early;
  launch.numAttrs = OverlapIfAny(early);
  const cudaError_t error = cudaLaunchKernelEx(&launch, kernel.entry, decode);
  if (error != cudaSuccess || decode.merge_count == 0) return error;
  launch.gridDim = dim3(decode.merge_count, decode.shape.group);
  launch.blockDim = dim3(kMergeWarps * 32);
  launch.dynamicSmemBytes = 0;
  return cudaLaunchKernelEx(&launch, MergeParts, decode);
}

cudaError_t LaunchMoveItems(const MoveItems& move, cudaStream_t stream) {
  if (move.layer_count == 0 || move.most_items == 0) return cudaSuccess;
  const dim3 grid((move.most_items + kMoveThreads - 1) / kMoveThreads, move.layer_count);
  ShiftItems<<<grid, kMoveThreads, 0, stream>>>(move);
  return cudaGetLastError();
}

}  // namespace headlong::cuda
