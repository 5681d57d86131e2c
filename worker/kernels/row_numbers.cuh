// Numbers of a row, for kernels that must give the same bits.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace headlong::cuda {

__device__ inline uint16_t RoundOne(float value) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

__device__ inline uint32_t RoundTwo(float low, float high) {
  return RoundOne(low) | uint32_t{RoundOne(high)} << 16;
}

__device__ inline float SiluTimes(float gate, float up) { return gate / (1.0f + expf(-gate)) * up; }

}  // namespace headlong::cuda
