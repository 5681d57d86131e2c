// Products of activations with weights on a GPU, and the copies in bf16 of activations that they
// read. Enqueues on one stream. One owner, the backend; the current device is its.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "worker/device_matrix_cuda.h"
#include "worker/kernels/matmul_cuda.h"

namespace headlong {

class ProductsCuda {
 public:
  ProductsCuda(cuda::ElementType type, cudaStream_t stream) : type_(type), stream_(stream) {}

  // NOT_FOUND and RESOURCE_EXHAUSTED as MatMul::Create.
  absl::Status Start();

  // From a row of weights, or of a copy, to the next, in elements.
  int64_t Pitch(int64_t inputs) const;
  // Room for copies of so many rows. RESOURCE_EXHAUSTED with the bytes asked and free.
  absl::Status Reserve(int rows, int columns);
  void Drop();  // gives that back

  // Where an operation is about to write. A copy of what was there is out of date.
  float* Written(Activations x);
  // Where an operation that writes `out` may leave the copy that a product will want.
  cuda::RoundedRows NewCopy(Activations out, int columns);
  void ForgetCopy() { copy_of_ = nullptr; }

  // As those of Backend.
  void MatMul(const CudaMatrix& weights, Activations x, int rows, Activations y);
  void MatMulSiluMul(const CudaMatrix& weights, Activations x, int rows, Activations gate_up,
                     Activations out);

 private:
  cuda::Product ProductOf(const CudaMatrix& weights, int rows);
  const void* Copied(Activations x, int rows, int columns);

  const cuda::ElementType type_;
  const cudaStream_t stream_;
  std::unique_ptr<cuda::MatMul> matmul_;
  cuda::DeviceArray<uint16_t> copies_;  // [rows][pitch]
  // The same for kFewRows of them: a product that makes a copy reads another one.
  cuda::DeviceArray<uint16_t> few_copies_;
  const void* copy_of_ = nullptr;  // activations
  uint16_t* copy_ = nullptr;       // of them, in one of the two
};

}  // namespace headlong
