#include "worker/kernels/decode_cuda.h"
#include "worker/kernels/decode_state.cuh"

namespace headlong::cuda {
namespace {

constexpr int kMergeWarps = 16;
constexpr int kMaxQuads = 2;  // of a lane: 256 elements / 32 lanes / 4

__device__ float WarpMax(float x) {
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, step));
  return x;
}

// One block per (lane that was cut, query head): out = sum of parts weighted by exp(lse - lse_all).
// Its warps take parts in turns. Bytes: parts * group * (head_dim + 1) * 4, out of the L2.
__global__ void MergeParts(DecodeAttention decode) {
  __shared__ float4 sums[kMergeWarps][kMaxQuads * 32];
  __shared__ float weights[kMergeWarps];
  cudaGridDependencySynchronize();
  const DecodeMerge merge = decode.merges[blockIdx.x];
  if (merge.count == 0) return;
  const int warp = threadIdx.x / 32, thread = threadIdx.x % 32;
  const int group = decode.shape.group, quads = decode.shape.head_dim / 4;
  const float* lse = decode.part_lse + int64_t{merge.first} * group + blockIdx.y;
  const float4* out = reinterpret_cast<const float4*>(decode.part_out) +
                      (int64_t{merge.first} * group + blockIdx.y) * quads;
  float peak = kMinusInfinity;
  for (int p = thread; p < merge.count; p += 32) peak = fmaxf(peak, lse[p * group]);
  peak = WarpMax(peak);
  if (peak == kMinusInfinity) peak = 0;
  float total = 0;
  float4 sum[kMaxQuads] = {};
#pragma unroll 4
  for (int p = warp; p < merge.count; p += kMergeWarps) {
    const float weight = expf(lse[p * group] - peak);
    total += weight;
    for (int k = 0; k < kMaxQuads; ++k) {
      const int quad = k * 32 + thread;
      if (quad >= quads) break;
      const float4 o = out[int64_t{p} * group * quads + quad];
      sum[k].x += weight * o.x;
      sum[k].y += weight * o.y;
      sum[k].z += weight * o.z;
      sum[k].w += weight * o.w;
    }
  }
  for (int k = 0; k < kMaxQuads; ++k) sums[warp][k * 32 + thread] = sum[k];
  if (thread == 0) weights[warp] = total;
  __syncthreads();
  const int element = threadIdx.x;
  total = 0;
  for (int w = 0; w < kMergeWarps; ++w) total += weights[w];
  const int64_t row = merge.query + blockIdx.y;
  if (element < decode.shape.head_dim) {
    float x = 0;
    for (int w = 0; w < kMergeWarps; ++w) x += reinterpret_cast<const float*>(sums[w])[element];
    decode.out[row * decode.shape.head_dim + element] = total == 0 ? 0 : x / total;
  }
  if (element == 0) decode.lse[row] = total == 0 ? kMinusInfinity : peak + logf(total);
}

DecodeKernel KernelFor(const DecodeShape& shape) {
  if (shape.group < 1 || shape.group > kMaxGroup) return {};
  switch (shape.type) {
    case ElementType::kFloat32: return DecodeKernelFloat32(shape.head_dim);
    case ElementType::kBfloat16: return DecodeKernelBfloat16(shape.head_dim, shape.group);
    case ElementType::kFloat16: return DecodeKernelFloat16(shape.head_dim, shape.group);
  }
  return {};
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
  const cudaError_t error = cudaLaunchKernelEx(&launch, kernel.entry, decode);
  if (error != cudaSuccess || decode.merge_count == 0) return error;
  // The merge is launched while the last parts are still being read and waits on the device.
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  launch.gridDim = dim3(decode.merge_count, decode.shape.group);
  launch.blockDim = dim3(kMergeWarps * 32);
  launch.dynamicSmemBytes = 0;
  launch.attrs = &early;
  launch.numAttrs = 1;
  return cudaLaunchKernelEx(&launch, MergeParts, decode);
}

}  // namespace headlong::cuda
