// Codes become pairs of fp16, in which all of them are exact, as the matrix units take them: some
// three instructions for four codes, a third of them not of the unit that is short (the one for
// integers and bits).
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

// Two pairs of four codes with their signs' bits turned over: of bytes 0 and 1, of bytes 2 and 3.
__device__ inline void WidenInt8(uint32_t turned, uint32_t& first, uint32_t& second) {
  constexpr uint32_t k1024 = 0x64646464, kMinus1152 = 0xe480e480;
  first = AddHalves(__byte_perm(turned, k1024, 0x4140), kMinus1152);
  second = AddHalves(__byte_perm(turned, k1024, 0x4342), kMinus1152);
}

// Four numbers of a row, one byte each: 0 and 1, 2 and 3.
template <Storage kType>
__device__ void WidenFour(uint32_t bytes, uint32_t& first, uint32_t& second) {
  if constexpr (kType == Storage::kFloat8) {
    first = Float8Halves(bytes);
    second = Float8Halves(bytes >> 16);
  } else {
    WidenInt8(bytes ^ 0x80808080, first, second);
  }
}

// Four numbers of two rows: pairs of the same number.
template <Storage kType>
__device__ void WidenTwoRows(uint32_t row, uint32_t next, uint32_t (&pairs)[4]) {
  WidenFour<kType>(__byte_perm(row, next, 0x5140), pairs[0], pairs[1]);
  WidenFour<kType>(__byte_perm(row, next, 0x7362), pairs[2], pairs[3]);
}

}  // namespace headlong::cuda
