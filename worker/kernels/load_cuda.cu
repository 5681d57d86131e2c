// Two bytes in and two out per number of a bf16 model: far above the rate of the bus that the
// numbers come over.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "worker/kernels/device_array.h"
#include "worker/kernels/load_cuda.h"

namespace headlong::cuda {
namespace {

constexpr int kThreads = 256;

unsigned BlocksFor(int64_t work) {
  return static_cast<unsigned>(std::clamp<int64_t>((work + kThreads - 1) / kThreads, 1, 1 << 20));
}

__device__ float Widen(float value) { return value; }
__device__ float Widen(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ float Widen(__half value) { return __half2float(value); }

__device__ void Store(float value, float* to) { *to = value; }
__device__ void Store(float value, __nv_bfloat16* to) { *to = __float2bfloat16_rn(value); }

template <typename From, typename To>
__global__ void ConvertKernel(const From* from, MatrixBlock to) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < to.rows * to.columns;
       i += step) {
    const int64_t at = i / to.columns * to.pitch + i % to.columns;
    Store(Widen(from[i]), static_cast<To*>(to.first) + at);
  }
}

template <typename To>
__global__ void FillKernel(DummyTensor tensor, MatrixBlock to) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < to.rows * to.columns;
       i += step) {
    const int64_t row = i / to.columns, column = i % to.columns;
    const int64_t index = (tensor.row + row) * tensor.columns + tensor.column + column;
    const float value = DummyNumber(tensor.numbers, static_cast<uint64_t>(index));
    Store(value, static_cast<To*>(to.first) + row * to.pitch + column);
  }
}

template <typename To>
void ConvertTo(const void* from, ElementType type, const MatrixBlock& to, cudaStream_t stream) {
  const unsigned blocks = BlocksFor(to.rows * to.columns);
  switch (type) {
    case ElementType::kFloat32:
      ConvertKernel<float, To>
          <<<blocks, kThreads, 0, stream>>>(static_cast<const float*>(from), to);
      break;
    case ElementType::kBfloat16:
      ConvertKernel<__nv_bfloat16, To>
          <<<blocks, kThreads, 0, stream>>>(static_cast<const __nv_bfloat16*>(from), to);
      break;
    case ElementType::kFloat16:
      ConvertKernel<__half, To>
          <<<blocks, kThreads, 0, stream>>>(static_cast<const __half*>(from), to);
      break;
  }
}

}  // namespace

void ConvertBlock(const void* from, ElementType type, const MatrixBlock& to, cudaStream_t stream) {
  if (to.rows * to.columns == 0) return;
  if (to.type == ElementType::kFloat32) {
    ConvertTo<float>(from, type, to, stream);
  } else {
    ConvertTo<__nv_bfloat16>(from, type, to, stream);
  }
  CheckCuda(cudaGetLastError(), "ConvertBlock");
}

void FillBlock(const DummyTensor& tensor, const MatrixBlock& to, cudaStream_t stream) {
  if (to.rows * to.columns == 0) return;
  const unsigned blocks = BlocksFor(to.rows * to.columns);
  if (to.type == ElementType::kFloat32) {
    FillKernel<float><<<blocks, kThreads, 0, stream>>>(tensor, to);
  } else {
    FillKernel<__nv_bfloat16><<<blocks, kThreads, 0, stream>>>(tensor, to);
  }
  CheckCuda(cudaGetLastError(), "FillBlock");
}

}  // namespace headlong::cuda
