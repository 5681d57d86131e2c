// Vectors of fp32 for the kernels, on GCC's vector extensions: the same source becomes SSE, AVX2 or
// AVX-512 by the flags of the file that includes this. HEADLONG_ISA is that file's namespace, so
// that no function built for one processor can be linked into a kernel for another. For the same
// reason those files call no function of a shared header that might not be inlined: `nm` on their
// objects must show nothing but the entry points.
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
  typedef int8_t Int8 __attribute__((vector_size(W)));
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

}  // namespace headlong::cpu::HEADLONG_ISA
