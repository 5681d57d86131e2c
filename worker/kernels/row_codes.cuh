// Numbers of rows of any type (cache/row_format.h) on the device, one by one: for what is made to
// be right and not to be fast.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

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

// Within fp16's range: what is beyond becomes its largest number (common/float16.h), NaN stays.
__device__ inline float WithinFloat16(float x) {
  constexpr float kLargest = 65504;
  return x > kLargest ? kLargest : x < -kLargest ? -kLargest : x;
}

// Number i of a row. REQUIRES: there is one.
template <Storage kType>
__device__ float NumberOf(const std::byte* codes, const std::byte* scales, int i) {
  if constexpr (kType == Storage::kFloat32) {
    return reinterpret_cast<const float*>(codes)[i];
  } else if constexpr (kType == Storage::kBfloat16) {
    return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(codes)[i]);
  } else if constexpr (kType == Storage::kFloat16) {
    return __half2float(reinterpret_cast<const __half*>(codes)[i]);
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
// kFloat16: of rows of a cache in fp16, which stores nothing else, as no other cache stores that.
template <bool kFloat16 = false, typename Call>
__device__ auto WithType(Storage type, Call call) {
  if constexpr (kFloat16) return call(std::integral_constant<Storage, Storage::kFloat16>());
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

// Elements thread, thread + 32, ... of a row; 0 beyond its last one. kFloat16: see WithType.
template <bool kFloat16 = false, int kElements>
__device__ void LoadRow(const DeviceRows& rows, ConstRow row, float (&to)[kElements]) {
  WithType<kFloat16>(rows.type, [&](auto type) {
    for (int e = 0; e < kElements; ++e) {
      const int i = e * 32 + threadIdx.x % 32;
      to[e] = i < rows.dims ? NumberOf<decltype(type)::value>(row.codes, row.scales, i) : 0;
    }
  });
}

}  // namespace headlong::cuda
