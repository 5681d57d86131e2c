// Products with weights as `bench kernels` measures them: alone, and in the order of a layer.
#include <array>
#include <memory>
#include <utility>

#include "common/status.h"
#include "worker/kernel_cases_cuda.h"
#include "worker/kernels/few_rows_cuda.h"
#include "worker/kernels/matmul_cuda.h"
#include "worker/kernels/op_cuda.h"

namespace headlong::cuda {
namespace {

absl::StatusOr<KernelCase> MakeMatMul(const BenchMemory& memory, int rows, int outputs,
                                      int inputs) {
  ASSIGN_OR_RETURN(std::shared_ptr<MatMul> matmul, MatMul::Create(memory.stream));
  const int64_t weight_bytes = 2 * int64_t{outputs} * inputs;
  const auto y = std::make_shared<DeviceArray<float>>(int64_t{rows} * outputs);
  KernelCase one;
  one.bytes = static_cast<double>(weight_bytes + int64_t{rows} * (2 * inputs + 4 * outputs));
  one.flops = 2.0 * rows * outputs * inputs;
  one.calls = one.flops > 1e11 ? 1 : CallsFor(static_cast<double>(weight_bytes));
  Product product;
  product.x = memory.memory.get();
  product.y = y->get();
  product.outputs = outputs;
  product.inputs = inputs;
  product.pitch = inputs;
  product.rows = rows;
  one.run = [=, weights = memory.memory.get()](int call) mutable {
    product.weights = weights + call * weight_bytes;
    matmul->Run(product);
    y->get();
  };
  return one;
}

// A layer of Llama-3-8B without its attention, as steps of few rows compute it. Operands have their
// sizes and no meaning.
struct LayerProducts {
  static constexpr int kHidden = 4096, kInner = 14336;
  struct Shape {
    int outputs, inputs;
    int64_t bytes() const { return int64_t{2} * outputs * inputs; }
  };
  static constexpr std::array<Shape, 4> kShapes = {
      {{6144, kHidden}, {kHidden, kHidden}, {2 * kInner, kHidden}, {kHidden, kInner}}};
  enum { kQkv, kOut, kGateUp, kDown };

  const BenchMemory& memory;
  const int rows;
  std::unique_ptr<MatMul> matmul;
  DeviceArray<float> numbers{int64_t{kFewRows} * 2 * kInner};
  DeviceArray<float> residual{int64_t{kFewRows} * kHidden};
  DeviceArray<uint16_t> normed{int64_t{kFewRows} * kHidden};
  DeviceArray<uint16_t> gated{int64_t{kFewRows} * kInner};

  static int64_t bytes() {
    int64_t sum = 0;
    for (const Shape& shape : kShapes) sum += shape.bytes();
    return sum;
  }

  void Norm() const {
    RmsNormCall call;
    call.x = residual.get();
    call.add = numbers.get();
    call.weight = reinterpret_cast<const float*>(memory.memory.get());
    call.out = numbers.get();
    call.rounded = {normed.get(), kHidden};
    call.rows = rows;
    call.columns = kHidden;
    call.eps = 1e-5f;
    RmsNorm(call, memory.stream);
  }

  void Multiply(int which, const std::byte* weights) const {
    Product product;
    product.weights = weights;
    product.outputs = kShapes[which].outputs;
    product.pitch = product.inputs = kShapes[which].inputs;
    product.rows = rows;
    product.x = which == kDown ? gated.get() : normed.get();
    if (which == kOut && rows * kHidden <= kMostFloats) product.floats = residual.get();
    product.y = numbers.get();
    if (which == kGateUp) {
      product.outputs = kInner;
      product.gated = {gated.get(), kInner};
    }
    matmul->Run(product);
  }

  void Run(int call) const {
    const std::byte* weights = memory.memory.get() + call * bytes();
    for (const int which : {kQkv, kOut, kGateUp, kDown}) {
      if (which == kQkv || which == kGateUp) Norm();
      Multiply(which, weights);
      weights += kShapes[which].bytes();
    }
  }
};

absl::StatusOr<KernelCase> MakeLayer(const BenchMemory& memory, int rows) {
  ASSIGN_OR_RETURN(std::unique_ptr<MatMul> matmul, MatMul::Create(memory.stream));
  const std::shared_ptr<LayerProducts> layer(new LayerProducts{memory, rows, std::move(matmul)});
  KernelCase one;
  one.bytes = static_cast<double>(LayerProducts::bytes());
  one.flops = one.bytes * rows;
  one.calls = CallsFor(one.bytes);
  one.run = [layer](int call) { layer->Run(call); };
  return one;
}

}  // namespace

KernelCaseMaker MatMulCase(const BenchMemory& memory, int rows, int outputs, int inputs) {
  return {"matrix product",
          absl::StrCat(rows, " x ", inputs, " by ", inputs, " x ", outputs, " bf16"),
          [=, &memory] { return MakeMatMul(memory, rows, outputs, inputs); }};
}

std::vector<KernelCaseMaker> ProductCases(const BenchMemory& memory) {
  const int shapes[][2] = {{6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}};
  std::vector<KernelCaseMaker> cases;
  for (const auto& [outputs, inputs] : shapes) {
    for (const int rows : {1, 2, 4, 8, 16, 32, 64, 512}) {
      cases.push_back(MatMulCase(memory, rows, outputs, inputs));
    }
  }
  for (const int rows : {1, 8}) {
    cases.push_back({"layer without attention", absl::StrCat(rows, " x 4096 bf16"),
                     [=, &memory] { return MakeLayer(memory, rows); }});
  }
  return cases;
}

}  // namespace headlong::cuda
