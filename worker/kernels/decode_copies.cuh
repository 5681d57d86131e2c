// Copies of 16 bytes from a cache into shared memory that a thread does not wait for.
#pragma once

#include <cstddef>
#include <cstdint>

namespace headlong::cuda {

// The L2's policy for what is read once: it goes first. Known to be the same in all threads, so
// that it costs no instruction (the constant is what createpolicy makes of these words).
__device__ inline uint64_t ReadOnce() {
#if __CUDA_ARCH__ >= 900
  return 0x12f0000000000000;
#else
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
#endif
}

__device__ inline void CopyQuad(uint32_t to, const std::byte* from, uint64_t policy) {
  asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "l"(policy)
               : "memory");
}
// What is not live becomes zeros. Of few blocks, and without a policy: with a constant one, beside
// an address that a loop moves, ptxas 13.0 makes an instruction that does not exist.
__device__ inline void CopyQuadIf(bool live, uint32_t to, const std::byte* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(live ? 16 : 0)
               : "memory");
}

}  // namespace headlong::cuda
