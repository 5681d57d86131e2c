#include "worker/repeat_attention_cpu.h"

#include <algorithm>
#include <cmath>

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

double Weight(const cpu::AttentionTile& tile, const Query& query, int64_t position) {
  const auto after =
      std::upper_bound(tile.runs.begin(), tile.runs.end(), position,
                       [](int64_t p, const KeyRun& run) { return p < run.position; });
  const KeyRun& run = *(after - 1);
  const bool coded = run.key_scales != nullptr;
  const RowFormat format{coded ? tile.key_codes : tile.storage, tile.key_dims};
  const int64_t row = position - run.position;
  float key[kMaxHeadDim];
  DecodeRow(run.keys + row * format.code_bytes(),
            coded ? run.key_scales + row * format.scales() : nullptr, format, key);
  double dot = 0;
  for (int i = 0; i < tile.key_dims; ++i) dot += double{query.q[i]} * key[i];
  const double bias = query.slope * static_cast<double>(position - query.position);
  return std::exp(dot * tile.scale + bias - query.lse);
}

}  // namespace

void AddRepeatAttention(const cpu::AttentionTile& tile, int64_t period, int64_t first_row,
                        std::span<RepeatSums> sums) {
  for (int row = 0; row < tile.rows; ++row) {
    const int64_t position = tile.first_position + row / tile.group;
    if (position < first_row) continue;
    const int head = row % tile.group;
    const Query query{
        .q = tile.q + row / tile.group * tile.q_stride + int64_t{head} * tile.head_dim,
        .position = position,
        .slope = tile.slopes == nullptr ? 0 : tile.slopes[head],
        .lse = tile.lse[row]};
    for (int64_t copy = position - period; copy >= 0; copy -= period) {
      sums[head].echo += Weight(tile, query, copy);
      sums[head].induction += Weight(tile, query, copy + 1);
    }
  }
}

}  // namespace headlong
