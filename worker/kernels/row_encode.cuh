// A row becomes what its lane stores (cache/row_format.h: EncodeRow is the CPU twin), by a warp.
#pragma once

#include <cuda_fp8.h>

#include "worker/kernels/row_codes.cuh"

namespace headlong::cuda {

__device__ inline float WarpMax(float x) {
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, step));
  return x;
}

// The least bf16 number that is not below largest / most, written by one thread.
__device__ inline float WriteScale(float largest, float most, std::byte* to) {
  const uint32_t bits = (__float_as_uint(__fdiv_rn(largest, most)) + 0xffffu) >> 16;
  if (threadIdx.x % 32 == 0) *reinterpret_cast<uint16_t*>(to) = static_cast<uint16_t>(bits);
  return WidenScale(bits);
}

__device__ inline int Steps(float number, float scale, float most) {
  if (scale == 0) return 0;
  return __float2int_rn(fminf(fmaxf(__fdiv_rn(number, scale), -most), most));
}

__device__ inline void EncodeInt4(const float* numbers, const DeviceRows& rows, RowPlace to) {
  constexpr int kMost = 7, kHalf = kCodeGroup / 2;
  const int thread = threadIdx.x % 32;
  for (int group = 0; group < rows.scales; ++group) {
    const int i = group * kCodeGroup + thread;
    const float x = i < rows.dims ? numbers[i] : 0;
    const float scale = WriteScale(WarpMax(fabsf(x)), kMost, to.scales + group * 2);
    const int code = Steps(x, scale, kMost) & 15;
    const int high = __shfl_down_sync(~0u, code, kHalf);
    if (thread < kHalf) to.codes[group * kHalf + thread] = static_cast<std::byte>(code | high << 4);
  }
}

// One row from `numbers` in shared memory. Called by a whole warp.
__device__ inline void EncodeRow(const float* numbers, const DeviceRows& rows, RowPlace to) {
  if (rows.type == Storage::kInt4) return EncodeInt4(numbers, rows, to);
  const int thread = threadIdx.x % 32;
  float scale = 0;
  const float most = rows.type == Storage::kInt8 ? 127 : 448;
  if (rows.scales > 0) {
    float largest = 0;
    for (int i = thread; i < rows.dims; i += 32) largest = fmaxf(largest, fabsf(numbers[i]));
    scale = WriteScale(WarpMax(largest), most, to.scales);
  }
  for (int i = thread; i < rows.dims; i += 32) {
    const float x = numbers[i];
    switch (rows.type) {
      case Storage::kFloat32:
        reinterpret_cast<float*>(to.codes)[i] = x;
        break;
      case Storage::kBfloat16:
        reinterpret_cast<__nv_bfloat16*>(to.codes)[i] = __float2bfloat16_rn(x);
        break;
      case Storage::kInt8:
        to.codes[i] = static_cast<std::byte>(Steps(x, scale, most));
        break;
      default:
        to.codes[i] = static_cast<std::byte>(
            scale == 0 ? 0 : __nv_cvt_float_to_fp8(__fdiv_rn(x, scale), __NV_SATFINITE, __NV_E4M3));
    }
  }
}

}  // namespace headlong::cuda
