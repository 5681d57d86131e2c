// y = x W^T for few rows of x in bf16: bound by reading W once. CPU twin: op_rows.h.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "worker/kernels/op_cuda.h"

namespace headlong::cuda {

inline constexpr int kFewRows = 8;           // most rows of x
inline constexpr int kPitchStep = 32;        // elements: rows of W and x are padded to multiples
inline constexpr int kMostFloats = 1 << 14;  // of x in fp32: each tile reads them

struct FewRowsProduct {
  const uint16_t* weights = nullptr;  // [outputs][pitch] bf16, zeros from the last input on
  const uint16_t* x = nullptr;        // [rows][pitch] bf16, zeros from the last input on
  const float* floats = nullptr;      // or in place of x: [rows][pitch], rounded on the way
  float* y = nullptr;                 // [rows][outputs]
  int outputs = 0;
  int pitch = 0;  // a multiple of kPitchStep
  int rows = 0;   // 1 .. kFewRows
  // With rows: y = silu(gate) * up, of weights [2 * outputs][pitch], gates first, and this is y in
  // bf16, of a pitch that is a multiple of kPitchStep. Not beside `floats`.
  RoundedRows gated;
};
void RunFewRows(const FewRowsProduct& product, cudaStream_t stream);

}  // namespace headlong::cuda
