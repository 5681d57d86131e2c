// Three layouts, chosen per matrix at load.
// Plain: [outputs][inputs], for products in fp32. In bf16 where no weight loses by it (models are
// stored in bf16 as a rule), which halves what a decode step reads, else in fp32. Few rows go
// through our own product, which reads the weights once at the speed of memory (oneDNN's gemm packs
// the weights anew on every call: 4 rows take it 2 to 3 times as long); more rows go through a
// oneDNN matmul whose row count is a run-time value, over weights widened piece by piece.
// Blocked (blocked_matmul.h): bf16 as oneDNN wants it, on processors with bf16 products.

#include "worker/kernels/matmul_cpu.h"

#include <algorithm>
#include <array>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/status.h"
#include "worker/kernels/blocked_matmul.h"
#include "worker/kernels/onednn.h"
#include "worker/kernels/op_rows.h"
#include "worker/kernels/thread_team.h"

namespace headlong::cpu {
namespace {

using dnnl::memory;

constexpr int kOutputsPerPiece = 16;          // the least that a thread takes
constexpr int64_t kWidenedWeights = 2 << 20;  // at a time, in fp32: what the last cache holds

const RowKernels& Kernels() {
  static const RowKernels& kernels = RowKernelsFor(CurrentIsa());
  return kernels;
}

const void* Bits(const float* weights) { return weights; }
const void* Bits(const HugeArray<uint16_t>& weights) { return weights.get(); }
memory::data_type TypeOf(const float*) { return memory::data_type::f32; }
memory::data_type TypeOf(const HugeArray<uint16_t>&) { return memory::data_type::bf16; }

bool IsBfloat16(float value) { return (__builtin_bit_cast(uint32_t, value) & 0xffffu) == 0; }

}  // namespace

struct PackedMatrix::Primitives {
  MatMulType type;
  int outputs = 0;
  int inputs = 0;
  HugeArray<float> plain;                // [outputs][inputs], or
  HugeArray<uint16_t> plain_bf16;        // the same in bf16
  std::optional<BlockedMatMul> blocked;  // or as oneDNN wants it
  dnnl::stream stream{CpuEngine()};
  std::optional<MatMul> any_rows;       // plain, piece_outputs of them
  std::optional<MatMul> any_rows_rest;  // plain, what is left of outputs
  int piece_outputs = 0;

  void PackPlain(const float* source);
  void PackPlain(HugeArray<uint16_t> source);
  void PrepareManyRows(int most_outputs);
  void RunFewRows(const float* x, int rows, float* y) const;
  void RunManyRows(const float* x, int rows, float* y) const;
  void RunPlain(const float* x, int rows, float* y) const;
  int64_t bytes() const;
};

int64_t PackedMatrix::Primitives::bytes() const {
  if (blocked) return blocked->bytes();
  return int64_t{outputs} * inputs * (plain != nullptr ? 4 : 2);
}

void PackedMatrix::Primitives::PackPlain(const float* source) {
  const int64_t count = int64_t{outputs} * inputs;
  if (type == MatMulType::kBfloat16 || std::all_of(source, source + count, IsBfloat16)) {
    HugeArray<uint16_t> narrow = TakeHugeArray<uint16_t>(count);
    if (narrow == nullptr) throw std::bad_alloc();
    Kernels().round(source, count, narrow.get());
    return PackPlain(std::move(narrow));
  }
  plain = TakeHugeArray<float>(count);
  if (plain == nullptr) throw std::bad_alloc();
  std::copy_n(source, count, plain.get());
  PrepareManyRows(outputs);
}

void PackedMatrix::Primitives::PackPlain(HugeArray<uint16_t> source) {
  plain_bf16 = std::move(source);
  PrepareManyRows(static_cast<int>(std::clamp<int64_t>(kWidenedWeights / inputs, 1, outputs)));
}

void PackedMatrix::Primitives::PrepareManyRows(int most_outputs) {
  piece_outputs = most_outputs;
  // As oneDNN sees a piece: [inputs][outputs] with the inputs next to each other.
  const auto product = [&](int64_t columns) {
    const memory::desc layout({inputs, columns}, memory::data_type::f32, memory::format_tag::ba);
    return MatMul::Create(DNNL_RUNTIME_DIM_VAL, memory::data_type::f32, layout, outputs);
  };
  any_rows = product(piece_outputs);
  if (const int rest = outputs % piece_outputs; rest > 0) any_rows_rest = product(rest);
}

void PackedMatrix::Primitives::RunFewRows(const float* x, int rows, float* y) const {
  if (plain == nullptr) {
    auto* paired = Scratch<Use::kPaired, float>(int64_t{rows} * inputs);
    Kernels().pair_order(x, rows, inputs, paired);
    x = paired;
  }
  const auto product = [&](const auto* weights, int begin, int end) {
    using Weight = std::remove_cvref_t<decltype(*weights)>;
    return RowKernels::Product<Weight>{.x = x,
                                       .weights = weights + int64_t{begin} * inputs,
                                       .y = y + begin,
                                       .y_stride = outputs,
                                       .rows = rows,
                                       .outputs = end - begin,
                                       .inputs = inputs};
  };
  const auto run = [&](int begin, int end) {
    if (plain == nullptr) {
      Kernels().few_rows_product_bf16(product(plain_bf16.get(), begin, end));
    } else {
      Kernels().few_rows_product(product(plain.get(), begin, end));
    }
  };
  const int width = TeamShare(outputs, kOutputsPerPiece, rows * inputs);
  RunPieces((outputs + width - 1) / width,
            [&](int i) { run(i * width, std::min((i + 1) * width, outputs)); });
}

void PackedMatrix::Primitives::RunManyRows(const float* x, int rows, float* y) const {
  const memory source(RowMajor(rows, inputs, memory::data_type::f32), CpuEngine(),
                      const_cast<float*>(x));
  for (int begin = 0; begin < outputs; begin += piece_outputs) {
    const int count = std::min(piece_outputs, outputs - begin);
    const MatMul& product = count == piece_outputs ? *any_rows : *any_rows_rest;
    const float* weights = plain.get();
    if (plain == nullptr) {
      auto* widened = Scratch<Use::kWidened, float>(int64_t{piece_outputs} * inputs);
#pragma omp parallel for schedule(static)
      for (int output = 0; output < count; ++output) {
        Kernels().widen(&plain_bf16[int64_t{begin + output} * inputs], inputs,
                        widened + int64_t{output} * inputs);
      }
      weights = widened;
    }
    const memory piece(product.weights, CpuEngine(), const_cast<float*>(weights));
    const memory result(Strided(rows, count, outputs), CpuEngine(), y + begin);
    const memory scratch(product.scratchpad, CpuEngine(),
                         Scratch<Use::kOneDnn, std::byte>(product.scratchpad.get_size()));
    product.Run({source.get(), piece.get(), result.get(), scratch.get()}, stream);
  }
}

void PackedMatrix::Primitives::RunPlain(const float* x, int rows, float* y) const {
  if (type == MatMulType::kBfloat16) {
    auto* rounded = Scratch<Use::kRounded, float>(int64_t{rows} * inputs);
    Kernels().round_wide(x, int64_t{rows} * inputs, rounded);
    x = rounded;
  }
  return rows <= kTeamRows ? RunFewRows(x, rows, y) : RunManyRows(x, rows, y);
}

bool HasNativeBfloat16() {
#if defined(__x86_64__)
  return CurrentIsa() == Isa::kAvx512 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

template <typename Weights>
absl::StatusOr<PackedMatrix> PackedMatrix::Pack(Weights weights, int outputs, int inputs,
                                                MatMulType type) {
  if (outputs < 0 || inputs < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("a matrix of ", outputs, " outputs and ", inputs, " inputs"));
  }
  PackedMatrix matrix;
  matrix.outputs_ = outputs;
  matrix.inputs_ = inputs;
  if (outputs == 0) return matrix;
  try {
    matrix.primitives_ = std::make_unique<Primitives>();
    Primitives& primitives = *matrix.primitives_;
    primitives.type = type;
    primitives.outputs = outputs;
    primitives.inputs = inputs;
    if (type == MatMulType::kBfloat16 && HasNativeBfloat16()) {
      primitives.blocked.emplace(Bits(weights), TypeOf(weights), outputs, inputs);
    } else {
      primitives.PackPlain(std::move(weights));
    }
  } catch (const std::exception& e) {
    return absl::ResourceExhaustedError(
        absl::StrCat("packing a matrix of ", outputs, " x ", inputs, ": ", e.what()));
  }
  return matrix;
}

absl::StatusOr<PackedMatrix> PackedMatrix::Create(const float* weights, int outputs, int inputs,
                                                  MatMulType type) {
  return Pack(weights, outputs, inputs, type);
}

absl::StatusOr<PackedMatrix> PackedMatrix::Create(HugeArray<uint16_t> weights, int outputs,
                                                  int inputs, MatMulType type) {
  return Pack(std::move(weights), outputs, inputs, type);
}

PackedMatrix::PackedMatrix(PackedMatrix&&) noexcept = default;
PackedMatrix& PackedMatrix::operator=(PackedMatrix&&) noexcept = default;
PackedMatrix::~PackedMatrix() = default;

int64_t PackedMatrix::bytes() const { return primitives_ ? primitives_->bytes() : 0; }

void PackedMatrix::Run(const float* x, int rows, float* y) {
  if (outputs_ == 0 || rows <= 0) return;
  if (primitives_->blocked) {
    primitives_->blocked->Run(x, rows, y);
  } else {
    primitives_->RunPlain(x, rows, y);
  }
}

}  // namespace headlong::cpu
