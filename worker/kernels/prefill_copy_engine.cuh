// Hopper's copy engine: many rows into shared memory, asked for by one thread (copy_map.h).
#pragma once

#include <cstdint>

namespace headlong::cuda {

struct BoxPlace {  // as a CopyMap counts
  int column, row, half, last;
};
// 64 columns of 64 rows, swizzled, told to a barrier.
__device__ inline void CopyBox(uint32_t to, const void* map, BoxPlace from, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], "
      "[%1, {%2, %3, %4, %5}], [%6];" ::"r"(to),
      "l"(map), "r"(from.column), "r"(from.row), "r"(from.half), "r"(from.last), "r"(barrier)
      : "memory");
}
// Before the first copy by a map that the host has written.
__device__ inline void AcquireMap(const void* map) {
  asm volatile("fence.proxy.tensormap::generic.acquire.gpu [%0], 128;" ::"l"(map) : "memory");
}
// The barrier's phase does not end before the copy engine has brought so many bytes more.
__device__ inline void ExpectBytes(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
// Arrives for so many threads.
__device__ inline void ArriveFor(uint32_t barrier, int threads) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(threads)
               : "memory");
}

}  // namespace headlong::cuda
