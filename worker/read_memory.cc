#include "worker/read_memory.h"

#include <numeric>

namespace headlong {

// Many sums, so that none waits for the one before.
__attribute__((target_clones("avx2", "default"))) float ReadAndSum(const float* x, int64_t n) {
  constexpr int kSums = 64;
  float sums[kSums] = {};
  for (int64_t i = 0; i + kSums <= n; i += kSums) {
#pragma omp simd
    for (int k = 0; k < kSums; ++k) sums[k] += x[i + k];
  }
  return std::accumulate(sums, sums + kSums, 0.0f);
}

}  // namespace headlong
