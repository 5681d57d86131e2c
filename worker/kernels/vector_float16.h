// Vectors of fp32 out of fp16 and back: by the processor's own instructions (F16C, AVX-512), else
// bit by bit. For files built once per instruction set.
#pragma once

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "worker/kernels/vector.h"

namespace headlong::cpu::HEADLONG_ISA {

// Exponent and mantissa where fp32 has them are 2^-112 of the number, as fp32's bias is 112 more:
// also where they are subnormal. Infinity and NaN get fp32's highest exponent.
template <int W>
inline Float<W> WidenFloat16(Half<W> half) {
  const Unsigned<W> bits = __builtin_convertvector(half, Unsigned<W>);
  const Unsigned<W> sign = (bits & 0x8000u) << 16;
  const Unsigned<W> special =
      (bits & 0x7c00u) == 0x7c00u ? Unsigned<W>{} + 0x7f800000u : Unsigned<W>{};
  const Float<W> magnitude = (Float<W>)((bits & 0x7fffu) << 13) * 0x1p112f;
  return (Float<W>)((Unsigned<W>)magnitude | special | sign);
}

// W numbers from memory.
template <int W>
inline Float<W> LoadFloat16(const uint16_t* p) {
#if defined(__AVX512F__)
  if constexpr (W == 16) {
    __m256i half;
    __builtin_memcpy(&half, p, sizeof half);
    return (Float<W>)_mm512_maskz_cvtph_ps(0xffff, half);  // without a mask GCC 12 warns
  }
#endif
#if defined(__F16C__)
  if constexpr (W == 8) {
    __m128i half;
    __builtin_memcpy(&half, p, sizeof half);
    return (Float<W>)_mm256_cvtph_ps(half);
  }
#endif
  Half<W> half;
  __builtin_memcpy(&half, p, sizeof half);
  return WidenFloat16<W>(half);
}

// fp16 bits of x, rounded to nearest even; what is beyond 65504 becomes 65504 (common/float16.h:
// SaturatedFloat16); NaN stays a quiet NaN of the same sign.
template <int W>
inline Half<W> RoundToFloat16(Float<W> x) {
  constexpr float kLargest = 65504.0f;
  x = x > kLargest ? Splat<W>(kLargest) : x;  // a NaN is not
  x = x < -kLargest ? Splat<W>(-kLargest) : x;
#if defined(__AVX512F__)
  if constexpr (W == 16) {
    return (Half<W>)_mm512_maskz_cvtps_ph(0xffff, (__m512)x, _MM_FROUND_TO_NEAREST_INT);
  }
#endif
#if defined(__F16C__)
  if constexpr (W == 8) {
    return (Half<W>)_mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT);
  }
#endif
  const Unsigned<W> bits = (Unsigned<W>)x;
  const Unsigned<W> sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  const Unsigned<W> normal = ((magnitude + 0xfffu + (magnitude >> 13 & 1u)) >> 13) - (112u << 10);
  // Below 2^-14: beside one half, fp32 counts in steps of 2^-24.
  const Unsigned<W> subnormal = (Unsigned<W>)((Float<W>)magnitude + 0.5f) - 0x3f000000u;
  Unsigned<W> result = magnitude < 0x38800000u ? subnormal : normal;
  result = magnitude > 0x7f800000u ? Unsigned<W>{} + 0x7e00u : result;
  return __builtin_convertvector(sign | result, Half<W>);
}

}  // namespace headlong::cpu::HEADLONG_ISA
