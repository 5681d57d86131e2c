// Vectors of fp32 for the kernels, on GCC's vector extensions: the same source becomes SSE, AVX2 or
// AVX-512 by the flags of the file that includes this. HEADLONG_ISA is that file's namespace, so
// that no function built for one processor can be linked into a kernel for another; for the same
// reason nothing here or in those files calls an inline function of the standard library.
#pragma once

#include <cstdint>

namespace headlong::cpu::HEADLONG_ISA {

#if defined(__AVX512F__)
inline constexpr int kLanes = 16;
inline constexpr int kRegisters = 32;
#elif defined(__AVX2__)
inline constexpr int kLanes = 8;
inline constexpr int kRegisters = 16;
#else
inline constexpr int kLanes = 4;
inline constexpr int kRegisters = 16;
#endif

template <int W>
struct VectorOf {
  typedef float Float __attribute__((vector_size(W * 4)));
  typedef int32_t Int __attribute__((vector_size(W * 4)));
  typedef uint32_t Unsigned __attribute__((vector_size(W * 4)));
  typedef uint16_t Half __attribute__((vector_size(W * 2)));
};
template <int W>
using Float = typename VectorOf<W>::Float;
template <int W>
using Int = typename VectorOf<W>::Int;
template <int W>
using Half = typename VectorOf<W>::Half;
template <int W>
using Unsigned = typename VectorOf<W>::Unsigned;

inline constexpr float kInfinity = __builtin_inff();

template <int W>
inline Float<W> Splat(float x) {
  return x - Float<W>{};  // not x + 0, which would turn -0 into +0 and cannot be folded away
}

template <int W>
inline Float<W> Load(const float* p) {
  Float<W> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

// From the bits of bf16 elements.
template <int W>
inline Float<W> Widen(Half<W> bits) {
  return (Float<W>)(__builtin_convertvector(bits, Unsigned<W>) << 16);
}

// One of two vectors that a group of 2 W bf16 elements is taken apart into: those at even (part 0)
// or at odd places. One operation a vector, where Load takes two.
template <int W>
inline Float<W> LoadPart(const uint16_t* p, int part) {
  Unsigned<W> pairs;
  __builtin_memcpy(&pairs, p, sizeof pairs);
  return (Float<W>)(part == 0 ? pairs << 16 : pairs & 0xffff0000u);
}

template <int W>
inline Float<W> LoadPart(const float* p, int /*part*/) {  // fp32 is one part
  return Load<W>(p);
}

template <int W>
inline Float<W> Load(const uint16_t* p) {
  Half<W> bits;
  __builtin_memcpy(&bits, p, sizeof bits);
  return Widen<W>(bits);
}

template <int W>
inline Int<W> LoadInt(const int32_t* p) {
  Int<W> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

template <int W>
inline void Store(float* p, Float<W> v) {
  __builtin_memcpy(p, &v, sizeof v);
}

template <typename V>
inline V Max(V a, V b) {
  return a > b ? a : b;
}

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

// x[0, n) in groups of 2 W: from the order of memory to evens before odds, as LoadPart has them,
// and back.
template <int W>
inline void SplitPairs(float* x, int n) {
  Int<W> even, odd;
  for (int i = 0; i < W; ++i) even[i] = 2 * i, odd[i] = 2 * i + 1;
  for (int i = 0; i < n; i += 2 * W) {
    const Float<W> a = Load<W>(x + i), b = Load<W>(x + i + W);
    Store<W>(x + i, __builtin_shuffle(a, b, even));
    Store<W>(x + i + W, __builtin_shuffle(a, b, odd));
  }
}
template <int W>
inline void JoinPairs(float* x, int n) {
  Int<W> low, high;
  for (int i = 0; i < W; ++i) {
    low[i] = i / 2 + i % 2 * W;
    high[i] = low[i] + W / 2;
  }
  for (int i = 0; i < n; i += 2 * W) {
    const Float<W> a = Load<W>(x + i), b = Load<W>(x + i + W);
    Store<W>(x + i, __builtin_shuffle(a, b, low));
    Store<W>(x + i + W, __builtin_shuffle(a, b, high));
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
