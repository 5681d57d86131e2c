// The GPU operations of the forward pass, twins of op_cpu.h. All activations are fp32, row-major;
// shapes stand beside the buffers. Calls enqueue on `stream` and return. Where a product in bf16
// follows, an operation writes a rounded copy of its result, rows `pitch` apart and filled up with
// zeros, instead of leaving that to one more pass.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "worker/kernels/decode_cuda.h"

namespace headlong::cuda {

// A copy in bf16: [rows][pitch], zeros from the last column on. Null rows: not wanted.
struct RoundedRows {
  uint16_t* rows = nullptr;
  int64_t pitch = 0;
};

// out[r] = x[r] / sqrt(mean(x[r]^2) + eps) * weight. With `add`, x[r] += add[r] before.
// x, add, out: [rows][columns]; x and out may be the same buffer.
struct RmsNormCall {
  float* x = nullptr;
  const float* add = nullptr;     // or null
  const float* weight = nullptr;  // [columns]
  float* out = nullptr;
  RoundedRows rounded;
  int rows = 0;
  int columns = 0;
  float eps = 0;
};
void RmsNorm(const RmsNormCall& call, cudaStream_t stream);

// RmsNorm in place of each of q_heads + k_heads heads of `dim` floats at the beginning of a row.
struct NormHeadsCall {
  float* x = nullptr;  // [rows][row_stride]
  int64_t row_stride = 0;
  int rows = 0;
  int q_heads = 0;
  int k_heads = 0;  // behind the q heads
  int dim = 0;
  const float* q_weight = nullptr;  // [dim]
  const float* k_weight = nullptr;  // [dim]
  float eps = 0;
};
void NormHeads(const NormHeadsCall& call, cudaStream_t stream);

// out = silu(gate) * up.   gate_up: [rows][2 * columns], gate first; out: [rows][columns].
struct SiluMulCall {
  const float* gate_up = nullptr;
  float* out = nullptr;
  RoundedRows rounded;
  int rows = 0;
  int columns = 0;
};
void SiluMul(const SiluMulCall& call, cudaStream_t stream);

// out[r] = x[r] - mean(x[r]).   x, out: [rows][columns]; may be the same buffer.
void Center(const float* x, int rows, int columns, float* out, cudaStream_t stream);

// x[r] += bias.   x: [rows][columns], bias: [columns].
void AddBias(float* x, const float* bias, int rows, int columns, cudaStream_t stream);

// out = x * (1 + erf(x / sqrt 2)) / 2, n floats.
void Gelu(const float* x, int64_t n, float* out, cudaStream_t stream);

// x += y, n floats.
void Add(float* x, const float* y, int64_t n, cudaStream_t stream);

// x: [rows][columns] -> rounded.
void Round(const float* x, int rows, int columns, RoundedRows rounded, cudaStream_t stream);

// out[r] = table[tokens[r] - first_token], zeros where that is not one of table_rows.
struct EmbedCall {
  const void* table = nullptr;               // [table_rows][columns] of `type`
  ElementType type = ElementType::kFloat32;  // or kBfloat16
  int table_rows = 0;
  int first_token = 0;
  const uint32_t* tokens = nullptr;  // device, [rows]
  int rows = 0;
  int columns = 0;
  float* out = nullptr;  // [rows][columns]
};
void Embed(const EmbedCall& call, cudaStream_t stream);

// out[i] = x[indices[i]].   x: [..][columns], out: [count][columns], indices: device.
struct GatherRowsCall {
  const float* x = nullptr;
  const int* indices = nullptr;
  int count = 0;
  int columns = 0;
  float* out = nullptr;
};
void GatherRows(const GatherRowsCall& call, cudaStream_t stream);

// out[r] = {the largest of x[r], first_token + where it is}; of equals the first, -inf of none.
// x: [rows][columns], out: [rows][2]. Bytes: rows * columns * 4.
struct BestTokensCall {
  const float* x = nullptr;
  int rows = 0;
  int columns = 0;
  int first_token = 0;
  float* out = nullptr;
};
void BestTokens(const BestTokensCall& call, cudaStream_t stream);

}  // namespace headlong::cuda
