// Codes become pairs of bf16, in which all of them are exact, as the matrix units take them: some
// two instructions for four codes.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cache/storage.h"

namespace headlong::cuda {

__device__ inline uint32_t SubtractPairs(uint32_t a, uint32_t b) {
  uint32_t result;
  asm("sub.bf16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  return result;
}
__device__ inline uint32_t MultiplyPairs(uint32_t a, uint32_t b) {
  uint32_t result;
  asm("mul.bf16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

// Of bytes 0 and 2. int8: 0x4300 | low seven bits is 128 + those; the sign's bit in that place
// makes 128 to 256.
__device__ inline uint32_t Int8Pair(uint32_t bytes) {
  return SubtractPairs((bytes & 0x007f007f) | 0x43004300, (bytes & 0x00800080) | 0x43004300);
}
// e4m3: exponent and mantissa where bf16 has them are 2^-120 of the number.
__device__ inline uint32_t Float8Pair(uint32_t bytes) {
  constexpr uint32_t kTwoTo120 = 0x7b807b80;
  const uint32_t bits = (bytes << 4 & 0x07f007f0) | (bytes << 8 & 0x80008000);
  return MultiplyPairs(bits, kTwoTo120);
}
// Of the low halves of bytes 0 and 2: 0x4300 | (code + 8) is 136 + code.
__device__ inline uint32_t Int4Pair(uint32_t bytes) {
  constexpr uint32_t k136 = 0x43084308;
  return SubtractPairs((bytes & 0x000f000f) ^ k136, k136);
}

// Of bytes 0 and 2, and of bytes 1 and 3.
template <Storage kType>
__device__ void WidenBytes(uint32_t bytes, uint32_t& even, uint32_t& odd) {
  if constexpr (kType == Storage::kInt8) {
    even = Int8Pair(bytes);
    odd = Int8Pair(bytes >> 8);
  } else if constexpr (kType == Storage::kFloat8) {
    constexpr uint32_t kTwoTo120 = 0x7b807b80;
    even = Float8Pair(bytes);
    odd = MultiplyPairs((bytes >> 4 & 0x07f007f0) | (bytes & 0x80008000), kTwoTo120);
  } else {
    even = Int4Pair(bytes);
    odd = Int4Pair(bytes >> 8);
  }
}

}  // namespace headlong::cuda
