// Asynchronous products of a warpgroup on Hopper's matrix units (wgmma): where operands in shared
// memory are, and the order of products and of what touches their registers.
#pragma once

#include <cstdint>

namespace headlong::cuda {

// An operand that begins at `address` (a multiple of 1024 but for steps along its depth).
// next_columns: bytes to its next 64 columns, where its rows are what is summed over.
__device__ inline uint64_t Operand(uint32_t address, uint32_t next_columns) {
  constexpr uint64_t kEightRows = 1024, kSwizzle128 = 1;
  return (address & 0x3ffff) >> 4 | uint64_t{next_columns >> 4} << 16 | kEightRows >> 4 << 32 |
         kSwizzle128 << 62;
}

__device__ inline void BeginProducts() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void CommitProducts() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending>
__device__ void WaitForProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Keeps the compiler from moving uses of what a product reads or writes over a wait.
template <int kCount>
__device__ void Pin(float (&c)[kCount][4]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    for (int j = 0; j < 4; ++j) asm volatile("" : "+f"(c[i][j])::"memory");
  }
}
template <int kCount>
__device__ void Pin(uint32_t (&a)[kCount][4]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    for (int j = 0; j < 4; ++j) asm volatile("" : "+r"(a[i][j])::"memory");
  }
}

}  // namespace headlong::cuda
