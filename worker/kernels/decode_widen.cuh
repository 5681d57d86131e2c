// Codes become pairs of fp16, in which all of them are exact, as the matrix units take them.
//
// int8 and int4: a code plus 128 or 8, its sign's bit turned over, in the low bits of 0x6400 is
// 1024 more than it; what is too much is subtracted.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cache/storage.h"

namespace headlong::cuda {

__device__ inline uint32_t AddHalves(uint32_t a, uint32_t b) {
  uint32_t result;
  asm("add.f16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  return result;
}
__device__ inline uint32_t MultiplyAddHalves(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t result;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
  return result;
}

// Of two codes in 16 bits.
__device__ inline uint32_t Float8Halves(uint32_t codes) {
  uint32_t result;
#if __CUDA_ARCH__ >= 890
  asm("{.reg .b16 low, high; mov.b32 {low, high}, %1; cvt.rn.f16x2.e4m3x2 %0, low;}"
      : "=r"(result)
      : "r"(codes));
#else
  // Exponent and mantissa where fp16 has them are 2^-8 of the number.
  constexpr uint32_t kTwoTo8 = 0x5c005c00, kMinusZero = 0x80008000;
  const uint32_t high = __byte_perm(codes, 0, 0x1404);
  result = MultiplyAddHalves((high & 0x80008000) | (high & 0x7f007f00) >> 1, kTwoTo8, kMinusZero);
#endif
  return result;
}

// Constants of widening that are kept in registers: an instruction of two bitwise operations takes
// one constant only. From what only the device knows (gridDim.z is 1 everywhere), so that the
// compiler keeps them there.
struct WidenConstants {
  uint32_t low, high;  // of a nibble in bits 0 to 3 and 4 to 7
  __device__ WidenConstants()
      : low(0x64086408u + (gridDim.z - 1)), high(0x64806480u + (gridDim.z - 1)) {}

  // Of the low nibbles of bytes 0 and 2, and of the high ones.
  __device__ uint32_t LowNibbles(uint32_t x) const {
    constexpr uint32_t kMinus1032 = 0xe408e408;
    return AddHalves((x & 0x000f000f) ^ low, kMinus1032);
  }
  __device__ uint32_t HighNibbles(uint32_t x) const {
    constexpr uint32_t kSixteenth = 0x2c002c00, kMinus72 = 0xd480d480;
    return MultiplyAddHalves((x & 0x00f000f0) ^ high, kSixteenth, kMinus72);
  }
};

// Four neighbours of a row: 0 and 1, 2 and 3.
__device__ inline void WidenFloat8(uint32_t codes, uint32_t& first, uint32_t& second) {
  first = Float8Halves(codes);
  second = Float8Halves(codes >> 16);
}

// Two neighbours of each of two rows, 16 bits a row: pairs of the same number.
template <Storage kType>
__device__ void WidenTwoRows(uint32_t codes, uint32_t& first, uint32_t& second) {
  if constexpr (kType == Storage::kFloat8) {
    WidenFloat8(__byte_perm(codes, 0, 0x3120), first, second);
  } else {
    constexpr uint32_t k1024 = 0x64646464, kMinus1152 = 0xe480e480;
    const uint32_t turned = codes ^ 0x80808080;
    first = AddHalves(__byte_perm(turned, k1024, 0x4240), kMinus1152);
    second = AddHalves(__byte_perm(turned, k1024, 0x4341), kMinus1152);
  }
}

}  // namespace headlong::cuda
