#include "worker/kernels/prefill_cuda.h"

namespace headlong::cuda {
namespace {

PrefillKernel KernelFor(const DecodeShape& shape) {
  if (shape.group < 1 || shape.group > kMaxGroup) return {};
  switch (shape.type) {
    case ElementType::kFloat32:
      return PrefillKernelFloat32(shape.head_dim, shape.group);
    case ElementType::kBfloat16:
      return shape.head_dim % 64 == 0 ? PrefillKernelWgmma(shape.head_dim)
                                      : PrefillKernelMma(shape.head_dim);
    case ElementType::kFloat16:
      return {};
  }
  return {};
}

}  // namespace

int PreparePrefill(const DecodeShape& shape) {
  const PrefillKernel kernel = KernelFor(shape);
  if (kernel.entry == nullptr || cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel.entry),
                                                      cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                      kernel.shared_bytes) != cudaSuccess) {
    return 0;
  }
  return kernel.tile_rows / shape.group;
}

cudaError_t LaunchPrefill(const PrefillAttention& prefill, cudaStream_t stream) {
  if (prefill.tile_count == 0) return cudaSuccess;
  const PrefillKernel kernel = KernelFor(prefill.lanes.shape);
  if (kernel.entry == nullptr) return cudaErrorInvalidValue;
  // Heads first: the tiles with most work of all heads begin together, the short ones fill up.
  const dim3 grid(prefill.lanes.heads, prefill.tile_count);
  kernel.entry<<<grid, kernel.threads, kernel.shared_bytes, stream>>>(prefill);
  return cudaGetLastError();
}

}  // namespace headlong::cuda
