// y = x W^T for few rows of x in bf16: bound by reading W once. CPU twin: op_rows.h.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace headlong::cuda {

inline constexpr int kFewRows = 8;     // most rows of x
inline constexpr int kPitchStep = 32;  // elements: rows of W and x are padded to multiples

struct FewRowsProduct {
  const uint16_t* weights = nullptr;  // [outputs][pitch] bf16, zeros from `inputs` on
  const uint16_t* x = nullptr;        // [rows][pitch] bf16, zeros from `inputs` on
  float* y = nullptr;                 // [rows][outputs]
  int outputs = 0;
  int pitch = 0;  // a multiple of kPitchStep
  int rows = 0;   // 1 .. kFewRows
};
void RunFewRows(const FewRowsProduct& product, cudaStream_t stream);

}  // namespace headlong::cuda
