// The CPU operations of the forward pass. All activations are fp32, row-major; shapes stand beside
// the buffers. Threads: OpenMP, as many as omp_get_max_threads() of the caller; one caller at a
// time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cache/storage.h"

namespace headlong::cpu {

// out[r] = x[r] / sqrt(mean(x[r]^2) + eps) * weight.   x, out: [rows][dim]; may be the same buffer.
void RmsNorm(const float* x, const float* weight, int rows, int dim, float eps, float* out);

// The same in place for each of `heads` heads of dim elements that stand next to each other at the
// beginning of a row.
struct HeadRows {
  float* x = nullptr;      // [rows][row_stride]
  int64_t row_stride = 0;  // floats
  int rows = 0;
  int heads = 0;
  int dim = 0;
};
void RmsNormHeads(const HeadRows& rows, const float* weight, float eps);

// out[r] = x[r] - mean(x[r]).   x, out: [rows][columns]; may be the same buffer.
void Center(const float* x, int rows, int columns, float* out);

// x[r] += bias.   x: [rows][columns], bias: [columns].
void AddBias(float* x, const float* bias, int rows, int columns);

// cos_sin[r] = {cos(p * f_0).., sin(p * f_0)..} for p = positions[r]: [rows][2][half], where
// half = head_dim / 2. Angles are made in fp32 as p * f, as Hugging Face transformers does.
void RopeTable(const int32_t* positions, int rows, const float* inverse_frequencies, int half,
               float* cos_sin);

// Rotates pairs (i, i + half) of each head in place.   x: [rows][row_stride], heads next to each
// other.
void ApplyRope(float* x, int64_t row_stride, int rows, int heads, int half, const float* cos_sin);

// y[o] = x . weights[o].   x: [inputs], weights: [outputs][inputs], y: [outputs]; not the buffer of
// x. One thread: the caller has many of them.
void MultiplyRow(const float* x, const float* weights, int outputs, int inputs, float* y);

// out = silu(gate) * up.   gate_up: [rows][2 * columns], gate first; out: [rows][columns].
void SiluMul(const float* gate_up, int rows, int columns, float* out);

// out = x * (1 + erf(x / sqrt 2)) / 2, the error function itself.   x, out: [rows][columns].
void Gelu(const float* x, int rows, int columns, float* out);

// x += y, n floats.
void Add(float* x, const float* y, int64_t n);

// From the bits of n bf16 numbers.
void WidenRow(const uint16_t* x, int64_t n, float* out);

// Rounds rows of `count` floats to the storage type, a plain one.   x: [rows][row_stride] -> out:
// [rows][count].
void StoreRows(const float* x, int64_t row_stride, int rows, int count, Storage storage,
               std::byte* out);

}  // namespace headlong::cpu
