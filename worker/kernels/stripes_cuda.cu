#include <cuda_runtime_api.h>

#include "worker/kernels/device_array.h"
#include "worker/kernels/stripes.h"

namespace headlong::cuda {
namespace {

constexpr int kThreads = 256;
constexpr float kMinusInfinity = -__builtin_huge_valf();

// A thread per log-sum-exp.
__global__ void __launch_bounds__(kThreads) WriteParts(StripeRows stripes, float* parts) {
  const int64_t part_size = int64_t{stripes.rows} * stripes.group;
  const int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (i >= stripes.parts * part_size) return;
  const int part = static_cast<int>(i / part_size);
  const int64_t row = i % part_size / stripes.group, g = i % stripes.group;
  float value = 0;
  for (int k = 0; k < stripes.own_count; ++k) {
    const StripePart own = stripes.own[k];
    if (own.part != part) continue;
    value = stripes.lse[own.head * stripes.head_stride + row * stripes.row_stride + g];
  }
  parts[i] = value;
}

// exp(own - ln sum of exp over the owners), each `stride` floats after the one before.
__device__ float Factor(float own, const float* lse, int owners, int64_t stride) {
  if (own == kMinusInfinity) return 0;
  float peak = own, sum = 0;
  for (int i = 0; i < owners; ++i) peak = fmaxf(peak, lse[i * stride]);
  for (int i = 0; i < owners; ++i) sum += expf(lse[i * stride] - peak);
  return expf(own - peak) / sum;
}

// A block per row and split head of this worker.
__global__ void __launch_bounds__(kThreads)
    ScaleParts(StripeRows stripes, const float* parts, float* out) {
  const StripePart own = stripes.own[blockIdx.y];
  const int64_t part_size = int64_t{stripes.rows} * stripes.group, row = blockIdx.x;
  float* to = out + (row * stripes.heads + own.head) * stripes.group * stripes.head_dim;
  for (int i = threadIdx.x; i < stripes.group * stripes.head_dim; i += kThreads) {
    const float* lse = parts + row * stripes.group + i / stripes.head_dim;
    to[i] *=
        Factor(lse[own.part * part_size], lse + own.first_part * part_size, own.owners, part_size);
  }
}

}  // namespace

void WriteLogSums(const StripeRows& stripes, float* parts, CUstream_st* stream) {
  const int64_t count = int64_t{stripes.parts} * stripes.rows * stripes.group;
  if (count == 0) return;
  const auto blocks = static_cast<unsigned>((count + kThreads - 1) / kThreads);
  WriteParts<<<blocks, kThreads, 0, stream>>>(stripes, parts);
  CheckCuda(cudaGetLastError(), "log-sum-exps of split heads");
}

void ScaleStripes(const StripeRows& stripes, const float* parts, float* out, CUstream_st* stream) {
  if (stripes.own_count == 0 || stripes.rows == 0) return;
  ScaleParts<<<dim3(stripes.rows, stripes.own_count), kThreads, 0, stream>>>(stripes, parts, out);
  CheckCuda(cudaGetLastError(), "scaling split heads");
}

}  // namespace headlong::cuda
