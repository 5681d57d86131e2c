// Codes become pairs of bf16, in which all of them are exact, as the matrix units take them: some
// two instructions for four codes.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cache/storage.h"

namespace headlong::cuda {

// All that GPUs before Hopper have; rounds once, as the others do.
__device__ inline uint32_t MultiplyAddPairs(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t result;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
  return result;
}
__device__ inline uint32_t SubtractPairs(uint32_t a, uint32_t b) {
#if __CUDA_ARCH__ >= 900
  uint32_t result;
  asm("sub.bf16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  return result;
#else
  constexpr uint32_t kMinusOne = 0xbf80bf80;
  return MultiplyAddPairs(b, kMinusOne, a);
#endif
}
__device__ inline uint32_t MultiplyPairs(uint32_t a, uint32_t b) {
#if __CUDA_ARCH__ >= 900
  uint32_t result;
  asm("mul.bf16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  return result;
#else
  constexpr uint32_t kMinusZero = 0x80008000;
  return MultiplyAddPairs(a, b, kMinusZero);
#endif
}

__device__ inline void StoreShared(uint32_t to, uint4 quad) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(quad.x), "r"(quad.y),
               "r"(quad.z), "r"(quad.w)
               : "memory");
}

// Two of 128, the magnitude from which on bf16 counts in ones. From what only the device knows
// (gridDim.z is 1 everywhere), so that it stays in a register: an instruction of two bitwise
// operations takes one constant only.
__device__ inline uint32_t Pair128() { return 0x43004300u + (gridDim.z - 1); }

// Of bytes 0 and 2. int8: 0x4300 | low seven bits is 128 + those; the sign's bit in that place
// makes 128 to 256.
__device__ inline uint32_t Int8Pair(uint32_t bytes, uint32_t pair128) {
  return SubtractPairs((bytes & 0x007f007f) | pair128, (bytes & 0x00800080) | pair128);
}
// Of the low halves of bytes 0 and 2: those exclusive-or 8 are code + 8.
__device__ inline uint32_t Int4Pair(uint32_t bytes, uint32_t pair136) {
  return SubtractPairs((bytes & 0x000f000f) ^ pair136, 0x43084308);
}

// Of bytes 0 and 2, and of bytes 1 and 3; int4: of their low halves. e4m3: exponent and mantissa
// where bf16 has them are 2^-120 of the number.
template <Storage kType>
__device__ void WidenBytes(uint32_t bytes, uint32_t pair128, uint32_t& even, uint32_t& odd) {
  if constexpr (kType == Storage::kInt8) {
    even = Int8Pair(bytes, pair128);
    odd = Int8Pair(bytes >> 8, pair128);
  } else if constexpr (kType == Storage::kFloat8) {
    constexpr uint32_t kTwoTo120 = 0x7b807b80;
    even = MultiplyPairs((bytes << 4 & 0x07f007f0) | (bytes << 8 & 0x80008000), kTwoTo120);
    odd = MultiplyPairs((bytes >> 4 & 0x07f007f0) | (bytes & 0x80008000), kTwoTo120);
  } else {
    even = Int4Pair(bytes, pair128 | 0x00080008);
    odd = Int4Pair(bytes >> 8, pair128 | 0x00080008);
  }
}

}  // namespace headlong::cuda
