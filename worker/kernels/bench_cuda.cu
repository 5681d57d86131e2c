#include "worker/kernels/bench_cuda.h"

namespace headlong::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kAtOnce = 8;

__global__ void FillRandom(uint16_t* to, int64_t count) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    uint64_t x = (i + 1) * 0x9e3779b97f4a7c15u;
    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 32;
    const float value = static_cast<float>(x & 0xffffff) / (1 << 23) - 1;
    to[i] = static_cast<uint16_t>(__float_as_uint(value) >> 16);
  }
}

__global__ void ReadOnly(const uint4* from, int64_t count, uint32_t* out) {
  uint32_t sum = 0;
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  for (; i + (kAtOnce - 1) * stride < count; i += kAtOnce * stride) {
    uint4 x[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) x[k] = __ldcs(from + i + k * stride);
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) sum += x[k].x ^ x[k].y ^ x[k].z ^ x[k].w;
  }
  for (; i < count; i += stride) sum += from[i].x;
  if (sum == 0x12345678) *out = sum;
}

}  // namespace

cudaError_t LaunchReadOnly(const std::byte* from, int64_t bytes, int blocks, uint32_t* out,
                           cudaStream_t stream) {
  ReadOnly<<<blocks, kThreads, 0, stream>>>(reinterpret_cast<const uint4*>(from), bytes / 16, out);
  return cudaGetLastError();
}

cudaError_t LaunchFillRandom(std::byte* to, int64_t bytes, cudaStream_t stream) {
  FillRandom<<<1024, kThreads, 0, stream>>>(reinterpret_cast<uint16_t*>(to), bytes / 2);
  return cudaGetLastError();
}

}  // namespace headlong::cuda
