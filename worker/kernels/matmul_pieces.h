// How a product of any number of rows is cut into pieces for which a oneDNN primitive is kept.
// Pure.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

namespace headlong::cpu {

inline constexpr std::array<int, 10> kPieceRows = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};

struct MatMulPiece {
  size_t size = 0;  // index into kPieceRows
  int rows = 0;     // real rows, at most kPieceRows[size]
};

// The first piece of `rows` >= 1 rows: the next larger size filled up with padding where at least
// three quarters of it are real (a piece costs one pass over the weights) or it is small, else the
// next smaller size, in full.
inline constexpr MatMulPiece NextPiece(int rows) {
  constexpr int kSmall = 16;
  size_t size = 0;
  while (size + 1 < kPieceRows.size() && kPieceRows[size] < rows) ++size;
  const int most = kPieceRows[size];
  if (rows >= most) return {size, most};
  if (most <= kSmall || 4 * rows >= 3 * most) return {size, rows};
  return {size - 1, kPieceRows[size - 1]};
}

}  // namespace headlong::cpu
