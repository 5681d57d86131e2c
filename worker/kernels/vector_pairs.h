// The order in which LoadPart takes bf16 elements apart, for the fp32 numbers they meet. For files
// built once per instruction set.
#pragma once

#include "worker/kernels/vector.h"

namespace headlong::cpu::HEADLONG_ISA {

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

}  // namespace headlong::cpu::HEADLONG_ISA
