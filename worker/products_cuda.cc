#include "worker/products_cuda.h"

#include <algorithm>

#include "common/status.h"
#include "worker/kernels/few_rows_cuda.h"

namespace headlong {
namespace {

using cuda::ElementType;

// Whether a product may read activations as they are.
bool TakesFloats(const cuda::Product& product) {
  return cuda::HasFewRowsKernel(product.type, product.pitch, product.rows) &&
         product.pitch == product.inputs && product.rows * product.pitch <= cuda::kMostFloats;
}

}  // namespace

absl::Status ProductsCuda::Start() {
  ASSIGN_OR_RETURN(matmul_, cuda::MatMul::Create(stream_));
  return absl::OkStatus();
}

int64_t ProductsCuda::Pitch(int64_t inputs) const {
  if (type_ == ElementType::kFloat32) return inputs;
  return (inputs + cuda::kPitchStep - 1) / cuda::kPitchStep * cuda::kPitchStep;
}

absl::Status ProductsCuda::Reserve(int rows, int columns) {
  if (type_ == ElementType::kFloat32) return absl::OkStatus();
  copy_of_ = nullptr;  // it may be in memory that goes
  const auto take = [&](int64_t size, cuda::DeviceArray<uint16_t>& out) {
    return size <= out.size() ? absl::OkStatus() : TakeMemory(size, "inputs of products", out);
  };
  RETURN_IF_ERROR(take(rows * Pitch(columns), copies_));
  return take(std::min(rows, cuda::kFewRows) * Pitch(columns), few_copies_);
}

void ProductsCuda::Drop() {
  copies_ = {};
  few_copies_ = {};
  copy_of_ = nullptr;
}

float* ProductsCuda::Written(Activations x) {
  if (copy_of_ == x.data) copy_of_ = nullptr;
  return Floats(x);
}

cuda::RoundedRows ProductsCuda::NewCopy(Activations out, int columns) {
  if (type_ == ElementType::kFloat32) return {};
  copy_of_ = out.data;
  copy_ = copies_.get();
  return {copy_, Pitch(columns)};
}

const void* ProductsCuda::Copied(Activations x, int rows, int columns) {
  if (type_ == ElementType::kFloat32) return x.data;
  if (copy_of_ != x.data) cuda::Round(Floats(x), rows, columns, NewCopy(x, columns), stream_);
  return copy_;
}

cuda::Product ProductsCuda::ProductOf(const CudaMatrix& weights, int rows) {
  cuda::Product product;
  product.type = type_;
  product.weights = weights.memory.get();
  product.outputs = weights.outputs;
  product.inputs = weights.inputs;
  product.pitch = weights.pitch;
  product.rows = rows;
  return product;
}

void ProductsCuda::MatMul(const CudaMatrix& weights, Activations x, int rows, Activations y) {
  cuda::Product product = ProductOf(weights, rows);
  if (weights.inputs == 0) {
    const int64_t bytes = int64_t{rows} * weights.outputs * static_cast<int64_t>(sizeof(float));
    cuda::CheckCuda(cudaMemsetAsync(Written(y), 0, bytes, stream_), "clearing");
    return;
  }
  if (copy_of_ != x.data && TakesFloats(product)) {
    product.floats = Floats(x);
  } else {
    product.x = Copied(x, rows, weights.inputs);
  }
  product.y = Written(y);
  matmul_->Run(product);
}

void ProductsCuda::MatMulSiluMul(const CudaMatrix& weights, Activations x, int rows,
                                 Activations gate_up, Activations out) {
  const int columns = weights.outputs / 2;
  if (!cuda::HasFewRowsKernel(type_, weights.pitch, rows)) {
    MatMul(weights, x, rows, gate_up);
    cuda::SiluMul({Floats(gate_up), Written(out), NewCopy(out, columns), rows, columns}, stream_);
    return;
  }
  cuda::Product product = ProductOf(weights, rows);
  product.outputs = columns;
  product.x = Copied(x, rows, weights.inputs);
  uint16_t* const copy = copy_ == copies_.get() ? few_copies_.get() : copies_.get();
  product.y = Written(out);
  product.gated = {copy, Pitch(columns)};
  matmul_->Run(product);
  copy_of_ = out.data;
  copy_ = copy;
}

}  // namespace headlong
