// y = x W^T on a GPU: many rows through cuBLASLt, few rows in bf16 through few_rows_cuda. A product
// is planned once per shape and bucket of rows (descriptors, layouts, algorithm), at its first use,
// and never again. One stream, one caller. CPU twin: matmul_cpu.h.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <memory>
#include <tuple>

#include "absl/status/statusor.h"
#include "worker/kernels/cublaslt.h"
#include "worker/kernels/device_array.h"
#include "worker/kernels/op_cuda.h"

namespace headlong::cuda {

// One product. bf16: weights and x are bf16, both [..][pitch] with zeros from `inputs` on, sums are
// fp32. fp32: everything is (no TF32), and pitch == inputs.
struct Product {
  ElementType type = ElementType::kBfloat16;
  const void* weights = nullptr;  // [outputs][pitch]
  const void* x = nullptr;        // [rows][pitch]
  float* y = nullptr;             // [rows][outputs]
  int outputs = 0;
  int inputs = 0;
  int64_t pitch = 0;
  int rows = 0;
  // Where HasFewRowsKernel, as few_rows_cuda.h says.
  const float* floats = nullptr;  // in place of x
  RoundedRows gated;              // weights: [2 * outputs][pitch]
};

// Whether few_rows_cuda computes such a product.
bool HasFewRowsKernel(ElementType type, int64_t pitch, int rows);

class MatMul {
 public:
  // NOT_FOUND when there is no cuBLASLt, RESOURCE_EXHAUSTED without memory for its workspace.
  static absl::StatusOr<std::unique_ptr<MatMul>> Create(cudaStream_t stream);
  ~MatMul();
  MatMul(const MatMul&) = delete;

  // Enqueues. Ends the process when the library refuses: no valid shape makes it do so. Where there
  // is no kernel for few rows, `next` is passed over. REQUIRES: no `floats` and no `gated` there.
  void Run(const Product& product);

 private:
  struct Plan {
    cublasLtMatrixLayout_t weights = nullptr;
    cublasLtMatrixLayout_t x = nullptr;
    cublasLtMatrixLayout_t y = nullptr;
    cublasLtMatmulAlgo_t algorithm;
    bool serves_fewer = true;  // than the rows it was made for
  };
  // type, outputs, pitch, rows
  using Key = std::tuple<ElementType, int, int64_t, int>;

  MatMul(const CublasLt& lt, cudaStream_t stream) : lt_(lt), stream_(stream) {}
  Plan& PlanFor(const Product& product, int rows);
  cublasStatus_t RunPlan(const Plan& plan, const Product& product);

  const CublasLt& lt_;
  const cudaStream_t stream_;
  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulDesc_t description_ = nullptr;
  cublasLtMatmulPreference_t preference_ = nullptr;
  DeviceArray<std::byte> workspace_;
  std::map<Key, Plan> plans_;
};

}  // namespace headlong::cuda
