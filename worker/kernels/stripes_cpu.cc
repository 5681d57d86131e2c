#include <algorithm>
#include <cmath>
#include <limits>

#include "worker/kernels/stripes.h"

namespace headlong::cpu {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// exp(own - ln sum of exp over the owners), each `stride` floats after the one before.
float Factor(float own, const float* lse, int owners, int64_t stride) {
  if (own == kMinusInfinity) return 0;
  float peak = own;
  for (int i = 0; i < owners; ++i) peak = std::max(peak, lse[i * stride]);
  float sum = 0;
  for (int i = 0; i < owners; ++i) sum += std::exp(lse[i * stride] - peak);
  return std::exp(own - peak) / sum;
}

}  // namespace

void WriteLogSums(const StripeRows& stripes, float* parts) {
  const int64_t part = int64_t{stripes.rows} * stripes.group;
  std::fill_n(parts, stripes.parts * part, 0.0f);
  for (int i = 0; i < stripes.own_count; ++i) {
    const StripePart& own = stripes.own[i];
    for (int row = 0; row < stripes.rows; ++row) {
      std::copy_n(stripes.lse + own.head * stripes.head_stride + row * stripes.row_stride,
                  stripes.group, parts + own.part * part + int64_t{row} * stripes.group);
    }
  }
}

void ScaleStripes(const StripeRows& stripes, const float* parts, float* out) {
  const int64_t part = int64_t{stripes.rows} * stripes.group;
#pragma omp parallel for collapse(2) schedule(static)
  for (int row = 0; row < stripes.rows; ++row) {
    for (int i = 0; i < stripes.own_count; ++i) {
      const StripePart& own = stripes.own[i];
      for (int g = 0; g < stripes.group; ++g) {
        const float* lse = parts + int64_t{row} * stripes.group + g;
        const float factor =
            Factor(lse[own.part * part], lse + own.first_part * part, own.owners, part);
        const int64_t query = (int64_t{row} * stripes.heads + own.head) * stripes.group + g;
        for (int d = 0; d < stripes.head_dim; ++d) out[query * stripes.head_dim + d] *= factor;
      }
    }
  }
}

}  // namespace headlong::cpu
