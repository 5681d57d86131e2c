// The inner loops of op_cpu and matmul_cpu, one build per instruction set. Single-threaded, no
// state, no allocation; arguments as in op_cpu.h for one row.
#pragma once

#include <cstdint>

#include "worker/kernels/isa.h"

namespace headlong::cpu {

struct RowKernels {
  void (*rms_norm)(const float* x, const float* weight, int dim, float eps, float* out);
  void (*rotate)(float* x, int heads, int half, const float* cos_sin);
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* out);
  void (*add)(float* x, const float* y, int64_t n);
  // bf16 bits of x.
  void (*round)(const float* x, int64_t n, uint16_t* out);
  // fp16 bits of x; what is beyond 65504 becomes 65504.
  void (*round_float16)(const float* x, int64_t n, uint16_t* out);
  // Rounded to bf16, as fp32; out may be x.
  void (*round_wide)(const float* x, int64_t n, float* out);
  // bf16 bits as fp32.
  void (*widen)(const uint16_t* x, int64_t n, float* out);
  // x as few_rows_product_bf16 takes it: in the order in which it takes weights apart.
  void (*pair_order)(const float* x, int rows, int inputs, float* out);
  // y[r][o] = x[r] . weights[o] for o in [0, outputs). x: [rows][inputs], weights: fp32 or bf16
  // bits, [outputs][inputs]; row r of y at y + r * y_stride. Reads the weights from memory once.
  template <typename Weight>
  struct Product {
    const float* x;
    const Weight* weights;
    float* y;
    int64_t y_stride;
    int rows;
    int outputs;
    int inputs;
  };
  void (*few_rows_product)(const Product<float>& product);
  void (*few_rows_product_bf16)(const Product<uint16_t>& product);
};

namespace generic {
extern const RowKernels kRowKernels;
}
namespace avx2 {
extern const RowKernels kRowKernels;
}
namespace avx512 {
extern const RowKernels kRowKernels;
}

const RowKernels& RowKernelsFor(Isa isa);

}  // namespace headlong::cpu
