// Codes of rows (cache/row_format.h) on the device, number by number: for what is made to be right
// for any pair of types, and for what writes rows.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <type_traits>

#include "worker/kernels/append_lane.cuh"

namespace headlong::cuda {

__device__ inline float WidenScale(uint32_t bits) { return __uint_as_float(bits << 16); }

__device__ inline float Scale(const std::byte* scales, int i) {
  return WidenScale(reinterpret_cast<const uint16_t*>(scales)[i]);
}

// e4m3: what fp32 makes of its exponent and mantissa is 2^-120 of it, as fp32's bias is 120 more.
__device__ inline float Float8(uint32_t code) {
  return __uint_as_float((code & 0x80) << 24 | (code & 0x7f) << 20) * 0x1p120f;
}

// Number i of a row. REQUIRES: there is one.
template <Storage kType>
__device__ float NumberOf(const std::byte* codes, const std::byte* scales, int i) {
  if constexpr (kType == Storage::kFloat32) {
    return reinterpret_cast<const float*>(codes)[i];
  } else if constexpr (kType == Storage::kBfloat16) {
    return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(codes)[i]);
  } else if constexpr (kType == Storage::kFloat8) {
    return Float8(static_cast<uint8_t>(codes[i])) * Scale(scales, 0);
  } else if constexpr (kType == Storage::kInt8) {
    return static_cast<float>(static_cast<int8_t>(codes[i])) * Scale(scales, 0);
  } else {
    constexpr int kHalf = kCodeGroup / 2;
    const int group = i / kCodeGroup, at = i % kCodeGroup;
    const auto byte = static_cast<uint32_t>(codes[group * kHalf + at % kHalf]);
    const auto high = static_cast<int8_t>((at < kHalf ? byte << 4 : byte) & 0xf0u);
    return static_cast<float>(high >> 4) * Scale(scales, group);
  }
}

// Calls `call` with the type as a constant: of `call(std::integral_constant<Storage, type>)`.
template <typename Call>
__device__ auto WithType(Storage type, Call call) {
  switch (type) {
    case Storage::kFloat32:
      return call(std::integral_constant<Storage, Storage::kFloat32>());
    case Storage::kBfloat16:
      return call(std::integral_constant<Storage, Storage::kBfloat16>());
    case Storage::kFloat8:
      return call(std::integral_constant<Storage, Storage::kFloat8>());
    case Storage::kInt8:
      return call(std::integral_constant<Storage, Storage::kInt8>());
    default:
      return call(std::integral_constant<Storage, Storage::kInt4>());
  }
}

// ---- a warp's row ----

// Elements thread, thread + 32, ... of a row; 0 beyond its last one.
template <int kElements>
__device__ void LoadRow(const DeviceRows& rows, ConstRow row, float (&to)[kElements]) {
  WithType(rows.type, [&](auto type) {
    for (int e = 0; e < kElements; ++e) {
      const int i = e * 32 + threadIdx.x % 32;
      to[e] = i < rows.dims ? NumberOf<decltype(type)::value>(row.codes, row.scales, i) : 0;
    }
  });
}

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
            scale == 0 ? 0
                       : __nv_cvt_float_to_fp8(__fdiv_rn(x, scale), __NV_SATFINITE, __NV_E4M3));
    }
  }
}

}  // namespace headlong::cuda
