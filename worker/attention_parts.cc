#include "worker/attention_parts.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace headlong {

size_t PartEnd(std::span<const KeyRun> runs, size_t begin) {
  int64_t keys = 0;
  while (begin < runs.size() && keys < kPartTokens) keys += runs[begin++].count;
  return begin;
}

void PartialResults::Resize(int parts, int head_dim) {
  head_dim_ = head_dim;
  const size_t rows = static_cast<size_t>(parts) * kMostCutRows;
  if (lse_.size() >= rows) return;
  lse_.resize(rows);
  out_.resize(rows * head_dim);
}

void PartialResults::Redirect(int part, cpu::AttentionTile& tile) {
  const int64_t row = int64_t{part} * kMostCutRows;
  tile.out = &out_[row * head_dim_];
  tile.out_stride = int64_t{tile.group} * head_dim_;
  tile.lse = &lse_[row];
}

void PartialResults::Merge(int first, int count, const cpu::AttentionTile& tile) const {
  for (int row = 0; row < tile.rows; ++row) {
    const auto lse = [&](int part) { return lse_[(first + part) * kMostCutRows + row]; };
    float peak = -std::numeric_limits<float>::infinity();
    for (int part = 0; part < count; ++part) peak = std::max(peak, lse(part));
    float* out =
        tile.out + row / tile.group * tile.out_stride + int64_t{row % tile.group} * head_dim_;
    std::fill_n(out, head_dim_, 0.0f);
    float sum = 0;
    for (int part = 0; part < count && std::isfinite(peak); ++part) {
      const float weight = std::exp(lse(part) - peak);
      const float* from = &out_[(int64_t{first + part} * kMostCutRows + row) * head_dim_];
      for (int d = 0; d < head_dim_; ++d) out[d] += weight * from[d];
      sum += weight;
    }
    if (sum > 0) {
      for (int d = 0; d < head_dim_; ++d) out[d] /= sum;
    }
    if (tile.lse != nullptr) tile.lse[row] = sum > 0 ? peak + std::log(sum) : peak;
  }
}

}  // namespace headlong
