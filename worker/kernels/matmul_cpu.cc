// Two layouts, chosen per matrix at load.
// Plain: [outputs][inputs] fp32, also for bf16 where the processor multiplies fp32 only. Few rows
// go through our own product, which reads the weights once at the speed of memory (oneDNN's gemm
// packs the weights anew on every call: 4 rows take it 2 to 3 times as long); more rows go through
// one oneDNN matmul whose row count is a run-time value. Blocked: bf16 as oneDNN wants it, on
// processors with bf16 products. oneDNN compiles these for a fixed row count, so a product is cut
// into pieces of a few fixed sizes.

#include "worker/kernels/matmul_cpu.h"

#include <algorithm>
#include <array>
#include <optional>
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

const dnnl::engine& CpuEngine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

const RowKernels& Kernels() {
  static const RowKernels& kernels = RowKernelsFor(CurrentIsa());
  return kernels;
}

// Memory of the calling thread that grows to the largest product it has seen.
template <typename T>
T* Scratch(int64_t count) {
  thread_local std::vector<T> scratch;
  if (static_cast<int64_t>(scratch.size()) < count) scratch.resize(count);
  return scratch.data();
}
std::byte* OneDnnScratch(int64_t bytes) { return Scratch<std::byte>(bytes); }

memory::desc RowMajor(int64_t rows, int64_t columns, memory::data_type type) {
  return memory::desc({rows, columns}, type, memory::format_tag::ab);
}

// A compiled product of `rows` rows (may be a run-time value) with weights in layout `weights`.
struct MatMul {
  static MatMul Create(memory::dim rows, memory::data_type source, const memory::desc& weights) {
    const int64_t inputs = weights.data.dims[0], outputs = weights.data.dims[1];
    const dnnl::matmul::desc desc(RowMajor(rows, inputs, source), weights,
                                  RowMajor(rows, outputs, memory::data_type::f32));
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::matmul::primitive_desc chosen(desc, attr, CpuEngine());
    return {dnnl::matmul(chosen), chosen.weights_desc(), chosen.scratchpad_desc()};
  }

  void Run(const memory& x, const memory& w, const memory& y, const dnnl::stream& stream) const {
    const memory scratch(scratchpad, CpuEngine(), OneDnnScratch(scratchpad.get_size()));
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
  bool blocked = false;
  dnnl::stream stream{CpuEngine()};
  memory weights;
  std::array<std::optional<MatMul>, kPieceRows.size()> pieces;  // blocked; made on first use
  std::optional<MatMul> any_rows;                               // plain

  void PackPlain(const float* source, int outputs, int inputs);
  void PackBlocked(const float* source, int outputs, int inputs);
  void RunFewRows(const float* x, int rows, int outputs, int inputs, float* y) const;
  void RunPlain(const float* x, int rows, int outputs, int inputs, float* y) const;
  void RunBlocked(const float* x, int rows, int outputs, int inputs, float* y);
  void RunPiece(const float* x, const MatMulPiece& piece, int outputs, int inputs, float* y);
};

void PackedMatrix::Primitives::PackPlain(const float* source, int outputs, int inputs) {
  // As oneDNN sees it, [inputs][outputs] with the inputs next to each other.
  const memory::desc layout({inputs, outputs}, memory::data_type::f32, memory::format_tag::ba);
  any_rows = MatMul::Create(DNNL_RUNTIME_DIM_VAL, memory::data_type::f32, layout);
  weights = memory(layout, CpuEngine());
  auto* packed = static_cast<float*>(weights.get_data_handle());
  const int64_t count = int64_t{outputs} * inputs;
  if (type == MatMulType::kBfloat16) {
    Kernels().round_wide(source, count, packed);
  } else {
    std::copy_n(source, count, packed);
  }
}

void PackedMatrix::Primitives::PackBlocked(const float* source, int outputs, int inputs) {
  blocked = true;
  const memory::desc any({inputs, outputs}, memory::data_type::bf16, memory::format_tag::any);
  pieces[0] = MatMul::Create(kPieceRows[0], memory::data_type::bf16, any);
  weights = memory(pieces[0]->weights, CpuEngine());
  const memory::desc plain({inputs, outputs}, memory::data_type::f32, memory::format_tag::ba);
  memory from(plain, CpuEngine(), const_cast<float*>(source));
  dnnl::reorder(from, weights).execute(stream, from, weights);
  stream.wait();
}

void PackedMatrix::Primitives::RunFewRows(const float* x, int rows, int outputs, int inputs,
                                          float* y) const {
  const auto* packed = static_cast<const float*>(weights.get_data_handle());
  const auto run = [&](int begin, int end) {
    Kernels().few_rows_product({.x = x,
                                .weights = packed + int64_t{begin} * inputs,
                                .y = y + begin,
                                .y_stride = outputs,
                                .rows = rows,
                                .outputs = end - begin,
                                .inputs = inputs});
  };
  if (int64_t{rows} * outputs * inputs < kProductsWorthThreads) return run(0, outputs);
#pragma omp parallel for schedule(static)
  for (int begin = 0; begin < outputs; begin += kOutputsPerPiece) {
    run(begin, std::min(begin + kOutputsPerPiece, outputs));
  }
}

void PackedMatrix::Primitives::RunPlain(const float* x, int rows, int outputs, int inputs,
                                        float* y) const {
  if (type == MatMulType::kBfloat16) {
    auto* rounded = Scratch<float>(int64_t{rows} * inputs);
    Kernels().round_wide(x, int64_t{rows} * inputs, rounded);
    x = rounded;
  }
  if (rows <= kFewRows) return RunFewRows(x, rows, outputs, inputs, y);
  const memory source(RowMajor(rows, inputs, memory::data_type::f32), CpuEngine(),
                      const_cast<float*>(x));
  const memory result(RowMajor(rows, outputs, memory::data_type::f32), CpuEngine(), y);
  any_rows->Run(source, weights, result, stream);
}

void PackedMatrix::Primitives::RunBlocked(const float* x, int rows, int outputs, int inputs,
                                          float* y) {
  while (rows > 0) {
    const MatMulPiece piece = NextPiece(rows);
    RunPiece(x, piece, outputs, inputs, y);
    x += int64_t{piece.rows} * inputs;
    y += int64_t{piece.rows} * outputs;
    rows -= piece.rows;
  }
}

// A piece with fewer rows than its primitive is filled up with zero rows, whose results are
// dropped.
void PackedMatrix::Primitives::RunPiece(const float* x, const MatMulPiece& piece, int outputs,
                                        int inputs, float* y) {
  const int padded = kPieceRows[piece.size];
  std::optional<MatMul>& product = pieces[piece.size];
  if (!product) product = MatMul::Create(padded, memory::data_type::bf16, weights.get_desc());
  auto* rounded = Scratch<uint16_t>(int64_t{padded} * inputs);
  Kernels().round(x, int64_t{piece.rows} * inputs, rounded);
  std::fill(rounded + int64_t{piece.rows} * inputs, rounded + int64_t{padded} * inputs, 0);
  float* target = piece.rows == padded ? y : Scratch<float>(int64_t{padded} * outputs);
  const memory source(RowMajor(padded, inputs, memory::data_type::bf16), CpuEngine(), rounded);
  const memory result(RowMajor(padded, outputs, memory::data_type::f32), CpuEngine(), target);
  product->Run(source, weights, result, stream);
  if (target != y) std::copy_n(target, int64_t{piece.rows} * outputs, y);
}

bool HasNativeBfloat16() {
#if defined(__x86_64__)
  return CurrentIsa() == Isa::kAvx512 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

absl::StatusOr<PackedMatrix> PackedMatrix::Create(const float* weights, int outputs, int inputs,
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
    matrix.primitives_->type = type;
    if (type == MatMulType::kBfloat16 && HasNativeBfloat16()) {
      matrix.primitives_->PackBlocked(weights, outputs, inputs);
    } else {
      matrix.primitives_->PackPlain(weights, outputs, inputs);
    }
  } catch (const std::exception& e) {
    return absl::ResourceExhaustedError(
        absl::StrCat("packing a matrix of ", outputs, " x ", inputs, ": oneDNN: ", e.what()));
  }
  return matrix;
}

PackedMatrix::PackedMatrix(PackedMatrix&&) noexcept = default;
PackedMatrix& PackedMatrix::operator=(PackedMatrix&&) noexcept = default;
PackedMatrix::~PackedMatrix() = default;

int64_t PackedMatrix::bytes() const {
  return primitives_ ? static_cast<int64_t>(primitives_->weights.get_desc().get_size()) : 0;
}

void PackedMatrix::Run(const float* x, int rows, float* y) {
  if (outputs_ == 0 || rows <= 0) return;
  if (primitives_->blocked) {
    primitives_->RunBlocked(x, rows, outputs_, inputs_, y);
  } else {
    primitives_->RunPlain(x, rows, outputs_, inputs_, y);
  }
}

}  // namespace headlong::cpu
