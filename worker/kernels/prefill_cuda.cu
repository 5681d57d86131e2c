#include <algorithm>

#include "worker/kernels/code_version.h"
#include "worker/kernels/prefill_cuda.h"

namespace headlong::cuda {
namespace {

PrefillKernel KernelFor(const DecodeShape& shape, bool plain) {
  if (shape.group < 1 || shape.group > kMaxGroup) return {};
  const bool wgmma = shape.head_dim % 64 == 0 && HasWarpgroupProducts(CodeVersion());
  switch (shape.type) {
    case ElementType::kFloat32:
      return PrefillKernelFloat32(shape.head_dim, shape.group);
    case ElementType::kBfloat16:
      return wgmma ? PrefillWgmmaBfloat16(shape.head_dim, plain)
                   : PrefillMmaBfloat16(shape.head_dim, plain);
    case ElementType::kFloat16:
      return wgmma ? PrefillWgmmaFloat16(shape.head_dim, plain)
                   : PrefillMmaFloat16(shape.head_dim, plain);
  }
  return {};
}

int Multiprocessors() {
  int device = 0, count = 1;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
  return count;
}

}  // namespace

int PreparePrefill(const DecodeShape& shape) {
  int positions = 0;
  for (const bool plain : {true, false}) {
    if (!plain && shape.type == ElementType::kFloat16) continue;  // there are no such lanes
    const PrefillKernel kernel = KernelFor(shape, plain);
    if (kernel.entry == nullptr || cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel.entry),
                                                        cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                        kernel.shared_bytes) != cudaSuccess) {
      return 0;
    }
    positions = kernel.tile_rows / shape.group;
  }
  return positions;
}

cudaError_t LaunchPrefill(const PrefillAttention& prefill, cudaStream_t stream) {
  if (prefill.tile_count == 0) return cudaSuccess;
  const DecodeShape& shape = prefill.lanes.shape;
  // Heads first: the tiles with most work of all heads begin together, the short ones fill up.
  const dim3 one_each(prefill.lanes.heads, prefill.tile_count);
  const bool one_for_all = shape.type == ElementType::kFloat32;
  for (const bool plain : {true, false}) {
    const bool wanted = plain ? prefill.plain_lanes || one_for_all : prefill.other_lanes;
    if (!wanted || (one_for_all && !plain)) continue;
    const PrefillKernel kernel = KernelFor(shape, plain);
    if (kernel.entry == nullptr) return cudaErrorInvalidValue;
    const int items = prefill.lanes.heads * prefill.tile_count;
    const dim3 grid = kernel.takes_work ? std::min(items, Multiprocessors()) : one_each;
    kernel.entry<<<grid, kernel.threads, kernel.shared_bytes, stream>>>(prefill);
  }
  return cudaGetLastError();
}

}  // namespace headlong::cuda
