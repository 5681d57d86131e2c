// Vectors of integers out of bytes. For files built once per instruction set.
#pragma once

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include <cstddef>

#include "worker/kernels/vector.h"

namespace headlong::cpu::HEADLONG_ISA {

// W bytes with their sign, as 32-bit integers. Told in so many words: of __builtin_convertvector
// the compiler makes a chain of shuffles.
template <int W>
inline Int<W> WidenBytes(const std::byte* p) {
#if defined(__AVX512F__)
  if constexpr (W == 16) {
    __m128i bytes;
    __builtin_memcpy(&bytes, p, sizeof bytes);
    return (Int<W>)_mm512_maskz_cvtepi8_epi32(0xffff, bytes);  // without a mask GCC 12 warns
  }
#endif
#if defined(__AVX2__)
  if constexpr (W == 8) {
    int64_t bytes;
    __builtin_memcpy(&bytes, p, sizeof bytes);
    return (Int<W>)_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(bytes));
  }
#endif
  typename VectorOf<W>::Int8 bytes;
  __builtin_memcpy(&bytes, p, sizeof bytes);
  return __builtin_convertvector(bytes, Int<W>);
}

}  // namespace headlong::cpu::HEADLONG_ISA
