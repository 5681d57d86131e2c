#include "worker/repeat_attention_cpu.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cache/row_format.h"
#include "worker/kernels/attention_tile.h"

namespace headlong {
namespace {

double Logit(const cpu::AttentionTile& tile, const float* q, const KeyRun& run, int64_t position) {
  const bool coded = run.key_scales != nullptr;
  const RowFormat format{coded ? tile.key_codes : tile.storage, tile.key_dims};
  const int64_t row = position - run.position;
  float key[kMaxHeadDim];
  DecodeRow(run.keys + row * format.code_bytes(),
            coded ? run.key_scales + row * format.scales() : nullptr, format, key);
  double dot = 0;
  for (int i = 0; i < tile.key_dims; ++i) dot += double{q[i]} * key[i];
  return dot * tile.scale;
}

double Weight(const cpu::AttentionTile& tile, const float* q, float lse, int64_t position) {
  const auto after =
      std::upper_bound(tile.runs.begin(), tile.runs.end(), position,
                       [](int64_t p, const KeyRun& run) { return p < run.position; });
  return std::exp(Logit(tile, q, *(after - 1), position) - lse);
}

const float* QueryOf(const cpu::AttentionTile& tile, int row) {
  return tile.q + row / tile.group * tile.q_stride + int64_t{row % tile.group} * tile.head_dim;
}

// The first position that a query at m sees, but for sinks and windows of its head.
int64_t FirstVisible(const cpu::AttentionTile& tile, int64_t m) {
  return tile.window > 0 ? std::max<int64_t>(m + 1 - tile.window, 0) : 0;
}

int64_t LargestPosition(const cpu::AttentionTile& tile, const float* q, int64_t m) {
  double largest = -std::numeric_limits<double>::infinity();
  int64_t where = -1;
  for (const KeyRun& run : tile.runs) {
    const int64_t begin = std::max(run.position, FirstVisible(tile, m));
    const int64_t end = std::min(run.position + run.count, m + 1);
    for (int64_t position = begin; position < end; ++position) {
      const double logit = Logit(tile, q, run, position);
      if (logit <= largest) continue;
      largest = logit;
      where = position;
    }
  }
  return where;
}

}  // namespace

void AddRepeatAttention(const cpu::AttentionTile& tile, int64_t period, int64_t first_row,
                        std::span<RepeatSums> sums) {
  if (period == 0) return;
  for (int row = 0; row < tile.rows; ++row) {
    const int64_t position = tile.first_position + row / tile.group;
    if (position < first_row) continue;
    const int64_t first = FirstVisible(tile, position);
    RepeatSums& sum = sums[row % tile.group];
    for (int64_t copy = position - period; copy + 1 >= first && copy >= 0; copy -= period) {
      if (copy >= first) sum.echo += Weight(tile, QueryOf(tile, row), tile.lse[row], copy);
      sum.induction += Weight(tile, QueryOf(tile, row), tile.lse[row], copy + 1);
    }
  }
}

void CountCopies(const cpu::AttentionTile& tile, std::span<const CopiedPosition> copies,
                 std::span<RepeatSums> sums) {
  for (const CopiedPosition& copy : copies) {
    const int64_t first = (copy.row - tile.first_position) * tile.group;
    if (first < 0 || first >= tile.rows) continue;
    for (int head = 0; head < tile.group; ++head) {
      const float* q = QueryOf(tile, static_cast<int>(first) + head);
      if (LargestPosition(tile, q, copy.row) == copy.position) ++sums[head].copied;
    }
  }
}

}  // namespace headlong
