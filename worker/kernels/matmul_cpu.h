// y = x W^T with packed weights, on oneDNN.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/huge_array.h"

namespace headlong::cpu {

enum class MatMulType { kFloat32, kBfloat16 };

// True where this processor multiplies bf16 faster than fp32 (AVX-512 BF16 or AMX).
bool HasNativeBfloat16();

// One weight matrix, packed once for the processor. kFloat32: weights that all are bf16 numbers are
// kept as such and widened when used: nothing is lost. kBfloat16: weights and
// activations are rounded to bf16, products summed in fp32; where the processor lacks bf16 the same
// rounding is done in fp32. Not thread-safe: one caller at a time. Once the largest row count was
// seen no buffer of ours grows; oneDNN's fp32 gemm takes and returns packing buffers of its own.
class PackedMatrix {
 public:
  // `weights`: [outputs][inputs] row-major fp32; not needed afterwards. outputs may be 0: Run then
  // writes nothing.
  static absl::StatusOr<PackedMatrix> Create(const float* weights, int outputs, int inputs,
                                             MatMulType type);
  // `weights`: the bits of bf16 numbers, [outputs][inputs].
  static absl::StatusOr<PackedMatrix> Create(HugeArray<uint16_t> weights, int outputs, int inputs,
                                             MatMulType type);
  PackedMatrix(PackedMatrix&&) noexcept;
  PackedMatrix& operator=(PackedMatrix&&) noexcept;
  ~PackedMatrix();

  int outputs() const { return outputs_; }
  int inputs() const { return inputs_; }
  int64_t bytes() const;

  // x: [rows][inputs], y: [rows][outputs], both contiguous fp32.
  void Run(const float* x, int rows, float* y);

 private:
  PackedMatrix() = default;
  template <typename Weights>
  static absl::StatusOr<PackedMatrix> Pack(Weights weights, int outputs, int inputs,
                                           MatMulType type);
  int outputs_ = 0;
  int inputs_ = 0;
  struct Primitives;  // oneDNN objects stay in matmul_cpu.cc
  std::unique_ptr<Primitives> primitives_;
};

}  // namespace headlong::cpu
