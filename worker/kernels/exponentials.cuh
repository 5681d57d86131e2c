// Powers and logarithms of two by the unit for them: to 2 in the last place, numbers below the
// normal ones as 0.
#pragma once

namespace headlong::cuda {

__device__ inline float Exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}
__device__ inline float Log2(float x) {
  float result;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

}  // namespace headlong::cuda
