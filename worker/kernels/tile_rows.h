// What both ways through a tile share (attention_few_rows.cc, attention_panels.cc): where rows lie,
// and the end of the softmax. For files built once per instruction set.
#pragma once

#include "worker/kernels/attention_tile.h"
#include "worker/kernels/vector.h"

namespace headlong::cpu::HEADLONG_ISA {

inline const float* QueryRow(const AttentionTile& tile, int row) {
  return tile.q + row / tile.group * tile.q_stride + int64_t{row % tile.group} * tile.head_dim;
}

inline float* OutRow(const AttentionTile& tile, int row) {
  return tile.out + row / tile.group * tile.out_stride + int64_t{row % tile.group} * tile.head_dim;
}

// Zeros behind what the values make of a row.
inline void FillRest(const AttentionTile& tile, float* out) {
  for (int i = tile.value_dims; i < tile.head_dim; ++i) out[i] = 0;
}

// What a row's exponents are taken relative to. A row that has seen nothing has max = -inf; 0 then
// keeps exp(-inf - max) at 0 rather than NaN.
template <int W>
inline Float<W> ExponentShift(Float<W> max) {
  return max == -kInfinity ? Float<W>{} : max;
}

inline void StoreLse(const AttentionTile& tile, const TileScratch& scratch) {
  if (tile.lse == nullptr) return;
  for (int r = 0; r < tile.rows; ++r) {
    tile.lse[r] =
        scratch.sum[r] == 0 ? -kInfinity : scratch.max[r] + __builtin_logf(scratch.sum[r]);
  }
}

// REQUIRES: tile.rows <= kFewRows.
void AttendFewRows(const AttentionTile& tile, TileScratch& scratch);
// Any number of rows; wasteful where they do not fill a vector.
void AttendPanels(const AttentionTile& tile, TileScratch& scratch);

}  // namespace headlong::cpu::HEADLONG_ISA
