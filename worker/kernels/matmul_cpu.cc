// Three layouts, chosen per matrix at load.
// Plain: [outputs][inputs], for products in fp32. In bf16 where no weight loses by it (models are
// stored in bf16 as a rule), which halves what a decode step reads, else in fp32. Few rows go
// through our own product, which reads the weights once at the speed of memory (oneDNN's gemm packs
// the weights anew on every call: 4 rows take it 2 to 3 times as long); more rows go through a
// oneDNN matmul whose row count is a run-time value, over weights widened piece by piece.
// Blocked: bf16 as oneDNN wants it, on processors with bf16 products. oneDNN compiles these for a
// fixed row count, so a product is cut into pieces of a few fixed sizes.

#include "worker/kernels/matmul_cpu.h"

#include <algorithm>
#include <array>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/status.h"
#include "oneapi/dnnl/dnnl.hpp"
#include "worker/kernels/matmul_pieces.h"
#include "worker/kernels/op_rows.h"

namespace headlong::cpu {
namespace {

using dnnl::memory;

constexpr int kFewRows = 32;          // up to here our own product is faster or as fast
constexpr int kOutputsPerPiece = 16;  // what a thread takes of them
constexpr int64_t kProductsWorthThreads = 128 * 1024;
constexpr int64_t kWidenedWeights = 2 << 20;  // at a time, in fp32: what the last cache holds

const dnnl::engine& CpuEngine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

const RowKernels& Kernels() {
  static const RowKernels& kernels = RowKernelsFor(CurrentIsa());
  return kernels;
}

enum class Use { kRounded, kPaired, kResult, kWidened, kOneDnn };

// Memory of the calling thread that grows to the largest product it has seen.
template <Use, typename T>
T* Scratch(int64_t count) {
  thread_local std::vector<T> scratch;
  if (static_cast<int64_t>(scratch.size()) < count) scratch.resize(count);
  return scratch.data();
}

bool IsBfloat16(float value) { return (__builtin_bit_cast(uint32_t, value) & 0xffffu) == 0; }

memory::desc RowMajor(int64_t rows, int64_t columns, memory::data_type type) {
  return memory::desc({rows, columns}, type, memory::format_tag::ab);
}

memory::desc Strided(int64_t rows, int64_t columns, int64_t stride) {
  return memory::desc({rows, columns}, memory::data_type::f32, memory::dims{stride, 1});
}

// A compiled product of `rows` rows (may be a run-time value) with weights in layout `weights`.
struct MatMul {
  // Rows of the result are `stride` floats apart.
  static MatMul Create(memory::dim rows, memory::data_type source, const memory::desc& weights,
                       int64_t stride) {
    const int64_t inputs = weights.data.dims[0], outputs = weights.data.dims[1];
    const dnnl::matmul::desc desc(RowMajor(rows, inputs, source), weights,
                                  Strided(rows, outputs, stride));
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::matmul::primitive_desc chosen(desc, attr, CpuEngine());
    return {dnnl::matmul(chosen), chosen.weights_desc(), chosen.scratchpad_desc()};
  }

  void Run(const memory& x, const memory& w, const memory& y, const dnnl::stream& stream) const {
    const memory scratch(scratchpad, CpuEngine(),
                         Scratch<Use::kOneDnn, std::byte>(scratchpad.get_size()));
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, x.get()},
                                         {DNNL_ARG_WEIGHTS, w.get()},
                                         {DNNL_ARG_DST, y.get()},
                                         {DNNL_ARG_SCRATCHPAD, scratch.get()}};
    dnnl::error::wrap_c_api(
        dnnl_primitive_execute(primitive.get(), stream.get(), std::size(arguments), arguments),
        "matmul");
  }

  dnnl::matmul primitive;
  memory::desc weights;
  memory::desc scratchpad;
};

}  // namespace

struct PackedMatrix::Primitives {
  MatMulType type;
  int outputs = 0;
  int inputs = 0;
  HugeArray<float> plain;          // [outputs][inputs], or
  HugeArray<uint16_t> plain_bf16;  // the same in bf16
  std::optional<memory> blocked;   // or as oneDNN wants it
  dnnl::stream stream{CpuEngine()};
  std::array<std::optional<MatMul>, kPieceRows.size()> pieces;  // blocked; made on first use
  std::optional<MatMul> any_rows;                               // plain, piece_outputs of them
  std::optional<MatMul> any_rows_rest;                          // plain, what is left of outputs
  int piece_outputs = 0;

  void PackPlain(const float* source);
  void PackPlain(HugeArray<uint16_t> source);
  void PackBlocked(const float* source) { PackBlocked(source, memory::data_type::f32); }
  void PackBlocked(HugeArray<uint16_t> source) {
    PackBlocked(source.get(), memory::data_type::bf16);
  }
  void PackBlocked(const void* source, memory::data_type source_type);
  void PrepareManyRows(int most_outputs);
  void RunFewRows(const float* x, int rows, float* y) const;
  void RunManyRows(const float* x, int rows, float* y) const;
  void RunPlain(const float* x, int rows, float* y) const;
  void RunBlocked(const float* x, int rows, float* y);
  void RunPiece(const float* x, const MatMulPiece& piece, float* y);
  int64_t bytes() const;
};

int64_t PackedMatrix::Primitives::bytes() const {
  if (blocked) return static_cast<int64_t>(blocked->get_desc().get_size());
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

void PackedMatrix::Primitives::PackBlocked(const void* source, memory::data_type source_type) {
  const memory::desc any({inputs, outputs}, memory::data_type::bf16, memory::format_tag::any);
  pieces[0] = MatMul::Create(kPieceRows[0], memory::data_type::bf16, any, outputs);
  blocked = memory(pieces[0]->weights, CpuEngine());
  const memory::desc from_layout({inputs, outputs}, source_type, memory::format_tag::ba);
  memory from(from_layout, CpuEngine(), const_cast<void*>(source));
  dnnl::reorder(from, *blocked).execute(stream, from, *blocked);
  stream.wait();
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
  if (int64_t{rows} * outputs * inputs < kProductsWorthThreads) return run(0, outputs);
#pragma omp parallel for schedule(static)
  for (int begin = 0; begin < outputs; begin += kOutputsPerPiece) {
    run(begin, std::min(begin + kOutputsPerPiece, outputs));
  }
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
    product.Run(source, piece, result, stream);
  }
}

void PackedMatrix::Primitives::RunPlain(const float* x, int rows, float* y) const {
  if (type == MatMulType::kBfloat16) {
    auto* rounded = Scratch<Use::kRounded, float>(int64_t{rows} * inputs);
    Kernels().round_wide(x, int64_t{rows} * inputs, rounded);
    x = rounded;
  }
  return rows <= kFewRows ? RunFewRows(x, rows, y) : RunManyRows(x, rows, y);
}

void PackedMatrix::Primitives::RunBlocked(const float* x, int rows, float* y) {
  while (rows > 0) {
    const MatMulPiece piece = NextPiece(rows);
    RunPiece(x, piece, y);
    x += int64_t{piece.rows} * inputs;
    y += int64_t{piece.rows} * outputs;
    rows -= piece.rows;
  }
}

// A piece with fewer rows than its primitive is filled up with zero rows, whose results are
// dropped.
void PackedMatrix::Primitives::RunPiece(const float* x, const MatMulPiece& piece, float* y) {
  const int padded = kPieceRows[piece.size];
  std::optional<MatMul>& product = pieces[piece.size];
  if (!product) {
    product = MatMul::Create(padded, memory::data_type::bf16, blocked->get_desc(), outputs);
  }
  auto* rounded = Scratch<Use::kRounded, uint16_t>(int64_t{padded} * inputs);
  Kernels().round(x, int64_t{piece.rows} * inputs, rounded);
  std::fill(rounded + int64_t{piece.rows} * inputs, rounded + int64_t{padded} * inputs, 0);
  float* target =
      piece.rows == padded ? y : Scratch<Use::kResult, float>(int64_t{padded} * outputs);
  const memory source(RowMajor(padded, inputs, memory::data_type::bf16), CpuEngine(), rounded);
  const memory result(RowMajor(padded, outputs, memory::data_type::f32), CpuEngine(), target);
  product->Run(source, *blocked, result, stream);
  if (target != y) std::copy_n(target, int64_t{piece.rows} * outputs, y);
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
      primitives.PackBlocked(std::move(weights));
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
    primitives_->RunBlocked(x, rows, y);
  } else {
    primitives_->RunPlain(x, rows, y);
  }
}

}  // namespace headlong::cpu
