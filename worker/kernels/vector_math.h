// Sums across vectors, e^x and rounding on vector.h's vectors; the same rules as there.
#pragma once

#include "worker/kernels/vector.h"

namespace headlong::cpu::HEADLONG_ISA {

template <int W>
inline float HorizontalMax(Float<W> v) {
  float best = v[0];
  for (int i = 1; i < W; ++i) best = best > v[i] ? best : v[i];
  return best;
}

template <int W>
inline float HorizontalSum(Float<W> v) {
  if constexpr (W == 4) {
    return (v[0] + v[1]) + (v[2] + v[3]);
  } else {
    Float<W / 2> half[2];
    __builtin_memcpy(half, &v, sizeof v);
    return HorizontalSum<W / 2>(half[0] + half[1]);
  }
}

// {sum(a), sum(b), sum(c), sum(d)}: adds inside 128-bit lanes first, then the lanes.
template <int W>
inline Float<4> Sum4(Float<W> a, Float<W> b, Float<W> c, Float<W> d) {
  if constexpr (W == 4) {
    typedef Int<4> I;
    const Float<4> ab =
        __builtin_shuffle(a, b, I{0, 4, 1, 5}) + __builtin_shuffle(a, b, I{2, 6, 3, 7});
    const Float<4> cd =
        __builtin_shuffle(c, d, I{0, 4, 1, 5}) + __builtin_shuffle(c, d, I{2, 6, 3, 7});
    return __builtin_shuffle(ab, cd, I{0, 1, 4, 5}) + __builtin_shuffle(ab, cd, I{2, 3, 6, 7});
  } else if constexpr (W == 8) {
    typedef Int<8> I;
    const I low{0, 8, 1, 9, 4, 12, 5, 13}, high{2, 10, 3, 11, 6, 14, 7, 15};
    const Float<8> ab = __builtin_shuffle(a, b, low) + __builtin_shuffle(a, b, high);
    const Float<8> cd = __builtin_shuffle(c, d, low) + __builtin_shuffle(c, d, high);
    const Float<8> all = __builtin_shuffle(ab, cd, I{0, 1, 8, 9, 4, 5, 12, 13}) +
                         __builtin_shuffle(ab, cd, I{2, 3, 10, 11, 6, 7, 14, 15});
    Float<4> half[2];
    __builtin_memcpy(half, &all, sizeof all);
    return half[0] + half[1];
  } else {
    Float<W / 2> part[8];
    __builtin_memcpy(part, &a, sizeof a);
    __builtin_memcpy(part + 2, &b, sizeof b);
    __builtin_memcpy(part + 4, &c, sizeof c);
    __builtin_memcpy(part + 6, &d, sizeof d);
    return Sum4<W / 2>(part[0] + part[1], part[2] + part[3], part[4] + part[5], part[6] + part[7]);
  }
}

// e^x for x <= 88, relative error under 2e-7; exactly 0 below -86 (where 2^n would leave the normal
// range) and at -inf; NaN stays NaN. Cephes' expf: e^x = 2^n e^r with |r| <= ln(2) / 2.
template <int W>
inline Float<W> Exp(Float<W> x) {
  constexpr float kLowest = -86.0f;
  const Int<W> vanishes = x < kLowest;
  const Float<W> clamped = Max(Splat<W>(kLowest), x);  // in this order: NaN > kLowest is false
  // Adding 1.5 * 2^23 leaves round(x / ln 2) in the low bits.
  const Float<W> shifted = clamped * 1.44269504088896341f + 12582912.0f;
  const Float<W> n = shifted - 12582912.0f;
  const Float<W> r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  Float<W> p = Splat<W>(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * r) * r + (r + 1.0f);
  const Int<W> scaled = (Int<W>)p + ((Int<W>)shifted << 23);
  return (Float<W>)(scaled & ~vanishes);
}

// bf16 bits of x, rounded to nearest even; NaN stays a quiet NaN of the same sign.
template <int W>
inline Half<W> RoundToBfloat16(Float<W> x) {
  const Unsigned<W> bits = (Unsigned<W>)x;
  const Unsigned<W> rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Unsigned<W> quiet = (bits >> 16) | 0x40u;
  const Unsigned<W> result = (bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded;
  return __builtin_convertvector(result, Half<W>);
}

}  // namespace headlong::cpu::HEADLONG_ISA
