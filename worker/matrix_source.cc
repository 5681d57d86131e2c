#include "worker/matrix_source.h"

namespace headlong {

std::vector<float> ToFloats(const MatrixSource& source) {
  std::vector<float> values(int64_t{source.outputs} * source.inputs);
  float* first = values.data();
  for (const TensorBlock& block : source.blocks) {
    const int64_t width = block.tensor_columns();
    if (block.columns == width && !source.side_by_side) {
      ToFloat32(*block.tensor, block.row * width, block.rows * width, first);
    } else {
      for (int64_t row = 0; row < block.rows; ++row) {
        ToFloat32(*block.tensor, (block.row + row) * width + block.column, block.columns,
                  first + row * source.inputs);
      }
    }
    first += source.side_by_side ? block.columns : block.rows * source.inputs;
  }
  return values;
}

}  // namespace headlong
