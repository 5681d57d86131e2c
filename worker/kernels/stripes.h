// Combining the stripes of split heads. Each owner has its own softmax over the keys it holds; with
// lse_i the natural log of owner i's denominator and lse = ln sum_i exp(lse_i), the head's output
// is the sum over owners of exp(lse_i - lse) * out_i. Twins: stripes_cpu.cc, stripes_cuda.cu.
//
// All split heads of a layer have their owners' parts numbered 0, 1, ..; a buffer of
// [parts][rows][group] log-sum-exps is written by every worker (its own parts, zeros elsewhere),
// summed over the workers, and read by every owner.
#pragma once

#include <cstdint>

struct CUstream_st;

namespace headlong {

// A split head of a layer that this worker owns stripes of.
struct StripePart {
  int32_t head = 0;  // among the layer's held heads
  int32_t part = 0;  // this worker's, one of [first_part, first_part + owners)
  int32_t first_part = 0, owners = 0;
};

struct StripeRows {
  const StripePart* own = nullptr;  // [own_count]; of the device
  int own_count = 0;
  int parts = 0;  // of the layer
  int rows = 0;
  int heads = 0;  // held in the layer
  int group = 1;
  int head_dim = 0;
  // Log-sum-exp of row r, held head h, query head g: lse[h * head_stride + r * row_stride + g].
  const float* lse = nullptr;
  int64_t head_stride = 0, row_stride = 0;
};

namespace cpu {
// parts: [parts][rows][group], all of it written.
void WriteLogSums(const StripeRows& stripes, float* parts);
// out: [rows][heads * group][head_dim]. A part that saw no key becomes 0.
void ScaleStripes(const StripeRows& stripes, const float* parts, float* out);
}  // namespace cpu

// The same on a GPU; launches only. Bytes: of `parts`, and of the split heads' outputs twice.
namespace cuda {
void WriteLogSums(const StripeRows& stripes, float* parts, CUstream_st* stream);
void ScaleStripes(const StripeRows& stripes, const float* parts, float* out, CUstream_st* stream);
}  // namespace cuda

}  // namespace headlong
