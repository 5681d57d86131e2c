// A weight matrix as pieces of stored tensors: which rows and columns of which tensor, and how they
// are put together. Plain values; the tensors outlive them.
#pragma once

#include <cstdint>
#include <vector>

#include "common/huge_array.h"
#include "model/checkpoint.h"

namespace headlong {

// Rows [row, row + rows) x columns [column, column + columns). A vector is a matrix of one column.
struct TensorBlock {
  const TensorView* tensor = nullptr;
  int64_t row = 0;
  int64_t rows = 0;
  int64_t column = 0;
  int64_t columns = 0;

  int64_t tensor_columns() const { return tensor->shape.size() > 1 ? tensor->shape[1] : 1; }
};

struct MatrixSource {
  int outputs = 0;            // rows of the matrix
  int inputs = 0;             // columns of it
  bool side_by_side = false;  // blocks: beside one another, else one below the other
  std::vector<TensorBlock> blocks;
};

// The matrix in fp32: [outputs][inputs]. Uses all threads.
std::vector<float> ToFloats(const MatrixSource& source);

// True where every block is stored in bf16.
bool IsBfloat16(const MatrixSource& source);
// Its bits: [outputs][inputs]. Null when the memory cannot be had. Uses all threads.
// REQUIRES: IsBfloat16(source).
HugeArray<uint16_t> ToBfloat16Bits(const MatrixSource& source);

}  // namespace headlong
