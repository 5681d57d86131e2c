#include "worker/matrix_source.h"

#include <algorithm>
#include <cstring>

namespace headlong {
namespace {

constexpr int64_t kElementsAtOnce = 1 << 18;

// Calls copy(block, first element of the tensor, count, first element of the matrix) for pieces
// that are contiguous in both and together are the whole matrix, on all threads.
template <typename Copy>
void ForPieces(const MatrixSource& source, const Copy& copy) {
  int64_t at = 0;
  for (const TensorBlock& block : source.blocks) {
    const int64_t width = block.tensor_columns();
    const bool contiguous = block.columns == width && !source.side_by_side;
    // A contiguous block is one long row, cut anywhere.
    const int64_t rows = contiguous ? 1 : block.rows;
    const int64_t columns = contiguous ? block.rows * width : block.columns;
    const int64_t pieces = (columns + kElementsAtOnce - 1) / kElementsAtOnce;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows * pieces; ++i) {
      const int64_t row = i / pieces;
      const int64_t begin = i % pieces * kElementsAtOnce;
      copy(block, (block.row + row) * width + block.column + begin,
           std::min(kElementsAtOnce, columns - begin), at + row * source.inputs + begin);
    }
    at += source.side_by_side ? block.columns : block.rows * source.inputs;
  }
}

}  // namespace

std::vector<float> ToFloats(const MatrixSource& source) {
  std::vector<float> values(int64_t{source.outputs} * source.inputs);
  ForPieces(source, [&](const TensorBlock& block, int64_t from, int64_t count, int64_t to) {
    ToFloat32(*block.tensor, from, count, &values[to]);
  });
  return values;
}

bool IsBfloat16(const MatrixSource& source) {
  return std::all_of(source.blocks.begin(), source.blocks.end(), [](const TensorBlock& block) {
    return block.tensor->type == TensorType::kBfloat16 && block.tensor->data != nullptr;
  });
}

HugeArray<uint16_t> ToBfloat16Bits(const MatrixSource& source) {
  auto bits = TakeHugeArray<uint16_t>(int64_t{source.outputs} * source.inputs);
  if (bits == nullptr) return bits;
  ForPieces(source, [&](const TensorBlock& block, int64_t from, int64_t count, int64_t to) {
    std::memcpy(&bits[to], block.tensor->data + 2 * from, 2 * count);
  });
  return bits;
}

}  // namespace headlong
