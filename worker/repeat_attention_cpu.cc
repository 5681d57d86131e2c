#include "worker/repeat_attention_cpu.h"

#include <algorithm>
#include <cmath>

namespace headlong {
namespace {

// The key at `position`, of head_dim elements.
const std::byte* KeyAt(const cpu::AttentionTile& tile, int64_t position) {
  const auto after =
      std::upper_bound(tile.runs.begin(), tile.runs.end(), position,
                       [](int64_t p, const KeyRun& run) { return p < run.position; });
  const KeyRun& run = *(after - 1);
  return run.keys + (position - run.position) * tile.head_dim * ElementBytes(tile.storage);
}

template <typename Element>
double Dot(const float* q, const std::byte* key, int n) {
  const Element* k = reinterpret_cast<const Element*>(key);
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += double{q[i]} * ToFloat(k[i]);
  return sum;
}

double Weight(const cpu::AttentionTile& tile, const float* q, float lse, int64_t position) {
  const std::byte* key = KeyAt(tile, position);
  const double dot = tile.storage == Storage::kFloat32 ? Dot<float>(q, key, tile.head_dim)
                                                       : Dot<Bfloat16>(q, key, tile.head_dim);
  return std::exp(dot * tile.scale - lse);
}

}  // namespace

void AddRepeatAttention(const cpu::AttentionTile& tile, int64_t period, int64_t first_row,
                        std::span<RepeatSums> sums) {
  for (int row = 0; row < tile.rows; ++row) {
    const int64_t position = tile.first_position + row / tile.group;
    if (position < first_row) continue;
    const int head = row % tile.group;
    const float* q = tile.q + row / tile.group * tile.q_stride + int64_t{head} * tile.head_dim;
    for (int64_t copy = position - period; copy >= 0; copy -= period) {
      sums[head].echo += Weight(tile, q, tile.lse[row], copy);
      sums[head].induction += Weight(tile, q, tile.lse[row], copy + 1);
    }
  }
}

}  // namespace headlong
