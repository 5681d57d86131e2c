#include <cuda.h>
#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include <cstring>

#include "worker/kernels/code_version.h"
#include "worker/kernels/copy_map.h"

namespace headlong::cuda {
namespace {

constexpr int kPageShift = 6, kColumns = 64, kRows = 64;
using Encode = PFN_cuTensorMapEncodeTiled_v12000;

// The driver is opened when the program runs: nothing is linked to it.
Encode FindEncode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                             12000, cudaEnableDefault, &found);
  if (error != cudaSuccess || found != cudaDriverEntryPointSuccess) return nullptr;
  return reinterpret_cast<Encode>(function);
}

// Rows of head_dim numbers, and bytes from a group of them to the next.
struct Rows {
  const void* memory;
  int64_t rows, half_bytes, halves, last_bytes, last;
};

bool MakeMap(const Rows& rows, int head_dim, CopyMap& map) {
  static_assert(sizeof(CUtensorMap) == sizeof(CopyMap));
  if (head_dim % kColumns != 0 || rows.rows < 1 || rows.last < 1 ||
      !HasWarpgroupProducts(CodeVersion())) {
    return false;
  }
  static const Encode encode = FindEncode();
  if (encode == nullptr) return false;
  const auto u64 = [](int64_t x) { return static_cast<cuuint64_t>(x); };
  const cuuint64_t sizes[] = {u64(head_dim), u64(rows.rows), u64(rows.halves), u64(rows.last)};
  const cuuint64_t strides[] = {u64(2 * head_dim), u64(rows.half_bytes), u64(rows.last_bytes)};
  const cuuint32_t box[] = {kColumns, kRows, 1, 1}, steps[] = {1, 1, 1, 1};
  CUtensorMap made;
  if (encode(&made, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, const_cast<void*>(rows.memory), sizes,
             strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) != CUDA_SUCCESS) {
    return false;
  }
  std::memcpy(&map, &made, sizeof(map));
  return true;
}

}  // namespace

bool MakePageMap(const DeviceClass& lane_class, int64_t pages, int head_dim, CopyMap& map) {
  if (!lane_class.plain || lane_class.keys.type == Storage::kFloat32 ||
      lane_class.page_shift != kPageShift) {
    return false;
  }
  return MakeMap({lane_class.pages, 1 << kPageShift, lane_class.key_bytes,
                  2 * int64_t{lane_class.lanes}, lane_class.page_stride, pages},
                 head_dim, map);
}

bool MakeRowMap(const FreshRows& rows, int heads, int head_dim, CopyMap& map) {
  const int64_t half_bytes = int64_t{rows.capacity} * 2 * head_dim;
  return MakeMap({rows.memory, rows.capacity, half_bytes, 2, rows.head_bytes, heads}, head_dim,
                 map);
}

}  // namespace headlong::cuda
