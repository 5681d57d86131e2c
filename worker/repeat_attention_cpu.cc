#include "worker/repeat_attention_cpu.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cache/row_format.h"
#include "worker/kernels/attention_tile.h"

namespace headlong {
namespace {

// Of a query of the tile: its numbers, what ALiBi takes off for the distance to a key, and its
// log-sum-exp.
struct Query {
  const float* q = nullptr;
  int64_t position = 0;
  double slope = 0;
  float lse = 0;
};

Query QueryOf(const cpu::AttentionTile& tile, int row) {
  const int head = row % tile.group;
  return {.q = tile.q + row / tile.group * tile.q_stride + int64_t{head} * tile.head_dim,
          .position = tile.first_position + row / tile.group,
          .slope = tile.slopes == nullptr ? 0 : tile.slopes[head],
          .lse = tile.lse == nullptr ? 0 : tile.lse[row]};
}

double Logit(const cpu::AttentionTile& tile, const Query& query, const KeyRun& run,
             int64_t position) {
  const bool coded = run.key_scales != nullptr;
  const RowFormat format{coded ? tile.key_codes : tile.key_plain, tile.key_dims};
  const int64_t row = position - run.position;
  float key[kMaxHeadDim];
  DecodeRow(run.keys + row * format.code_bytes(),
            coded ? run.key_scales + row * format.scales() : nullptr, format, key);
  double dot = 0;
  for (int i = 0; i < tile.key_dims; ++i) dot += double{query.q[i]} * key[i];
  return dot * tile.scale + query.slope * static_cast<double>(position - query.position);
}

double Weight(const cpu::AttentionTile& tile, const Query& query, int64_t position) {
  const auto after =
      std::upper_bound(tile.runs.begin(), tile.runs.end(), position,
                       [](int64_t p, const KeyRun& run) { return p < run.position; });
  return std::exp(Logit(tile, query, *(after - 1), position) - query.lse);
}

// The first position that a query at m sees, but for sinks and windows of its head.
int64_t FirstVisible(const cpu::AttentionTile& tile, int64_t m) {
  return tile.window > 0 ? std::max<int64_t>(m + 1 - tile.window, 0) : 0;
}

int64_t LargestPosition(const cpu::AttentionTile& tile, const Query& query) {
  double largest = -std::numeric_limits<double>::infinity();
  int64_t where = -1;
  for (const KeyRun& run : tile.runs) {
    const int64_t begin = std::max(run.position, FirstVisible(tile, query.position));
    const int64_t end = std::min(run.position + run.count, query.position + 1);
    for (int64_t position = begin; position < end; ++position) {
      const double logit = Logit(tile, query, run, position);
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
    const Query query = QueryOf(tile, row);
    const int64_t first = FirstVisible(tile, position);
    RepeatSums& sum = sums[row % tile.group];
    for (int64_t copy = position - period; copy + 1 >= first && copy >= 0; copy -= period) {
      if (copy >= first) sum.echo += Weight(tile, query, copy);
      sum.induction += Weight(tile, query, copy + 1);
    }
  }
}

void CountCopies(const cpu::AttentionTile& tile, std::span<const CopiedPosition> copies,
                 std::span<RepeatSums> sums) {
  for (const CopiedPosition& copy : copies) {
    const int64_t first = (copy.row - tile.first_position) * tile.group;
    if (first < 0 || first >= tile.rows) continue;
    for (int head = 0; head < tile.group; ++head) {
      const Query query = QueryOf(tile, static_cast<int>(first) + head);
      if (LargestPosition(tile, query) == copy.position) ++sums[head].copied;
    }
  }
}

}  // namespace headlong
