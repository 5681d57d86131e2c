#include "worker/kernels/blocked_matmul.h"

#include <omp.h>

#include <algorithm>
#include <utility>

#include "worker/kernels/op_rows.h"
#include "worker/kernels/thread_team.h"

namespace headlong::cpu {
namespace {

using dnnl::memory;

const RowKernels& Kernels() {
  static const RowKernels& kernels = RowKernelsFor(CurrentIsa());
  return kernels;
}

// Products made while it lives run on the thread that calls them.
class OneThread {
 public:
  OneThread() { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  const int before_ = omp_get_max_threads();
};

// Outputs that the layout keeps together.
int BlockOutputs(const memory::desc& weights) {
  const auto& blocking = weights.data.format_desc.blocking;
  int64_t block = 1;
  for (int i = 0; i < blocking.inner_nblks; ++i) {
    if (blocking.inner_idxs[i] == 1) block *= blocking.inner_blks[i];
  }
  return static_cast<int>(block);
}

// oneDNN's fast product; its reference for layouts that it did not expect is a thousand times
// slower.
bool IsFast(const MatMul& product) { return product.name.starts_with("brg"); }

}  // namespace

BlockedMatMul::BlockedMatMul(const void* source, memory::data_type type, int outputs, int inputs)
    : outputs_(outputs), inputs_(inputs) {
  const memory::desc any({inputs, outputs}, memory::data_type::bf16, memory::format_tag::any);
  products_[0] = FixedMatMul::Create(kPieceRows[0], any);
  weights_ = memory(products_[0]->product.weights, CpuEngine());
  const memory::desc from_layout({inputs, outputs}, type, memory::format_tag::ba);
  memory from(from_layout, CpuEngine(), const_cast<void*>(source));
  dnnl::reorder(from, weights_).execute(stream_, from, weights_);
  stream_.wait();
  AddSlices();
}

void BlockedMatMul::AddSlices() {
  const memory::desc layout = weights_.get_desc();
  const int width = TeamShare(outputs_, BlockOutputs(layout), inputs_);
  auto* bits = static_cast<uint16_t*>(weights_.get_data_handle());
  try {
    for (int begin = 0; begin < outputs_; begin += width) {
      Slice slice;
      slice.begin = begin;
      slice.count = std::min(width, outputs_ - begin);
      memory::desc part = layout.submemory_desc({inputs_, slice.count}, {0, begin});
      const int64_t offset = std::exchange(part.data.offset0, 0);
      slice.weights = memory(part, CpuEngine(), bits + offset);
      slices_.push_back(std::move(slice));
    }
  } catch (const dnnl::error&) {
    slices_.clear();
  }
}

void BlockedMatMul::Run(const float* x, int rows, float* y) {
  while (rows > 0) {
    const MatMulPiece piece = NextPiece(rows);
    RunPiece(x, piece, y);
    x += int64_t{piece.rows} * inputs_;
    y += int64_t{piece.rows} * outputs_;
    rows -= piece.rows;
  }
}

// A piece with fewer rows than its primitive is filled up with zero rows, whose results are
// dropped.
void BlockedMatMul::RunPiece(const float* x, const MatMulPiece& piece, float* y) {
  const int padded = kPieceRows[piece.size];
  auto* rounded = Scratch<Use::kRounded, uint16_t>(int64_t{padded} * inputs_);
  Kernels().round(x, int64_t{piece.rows} * inputs_, rounded);
  std::fill(rounded + int64_t{piece.rows} * inputs_, rounded + int64_t{padded} * inputs_, 0);
  if (padded <= kTeamRows && PrepareSlices(piece.size)) {
    return RunPieces(static_cast<int>(slices_.size()),
                     [&](int i) { RunSlice(slices_[i], piece, rounded, y); });
  }
  std::optional<FixedMatMul>& product = products_[piece.size];
  if (!product) product = FixedMatMul::Create(padded, weights_.get_desc());
  float* target =
      piece.rows == padded ? y : Scratch<Use::kResult, float>(int64_t{padded} * outputs_);
  product->Run(rounded, weights_, target, stream_);
  if (target != y) std::copy_n(target, int64_t{piece.rows} * outputs_, y);
}

// Whether the slices have products of the size.
bool BlockedMatMul::PrepareSlices(size_t size) {
  if (slices_.empty() || slices_[0].products[size]) return !slices_.empty();
  const OneThread one_thread;
  try {
    for (Slice& slice : slices_) {
      slice.products[size] = FixedMatMul::Create(kPieceRows[size], slice.weights.get_desc());
      if (!IsFast(slice.products[size]->product)) {
        slices_.clear();
        return false;
      }
    }
  } catch (const dnnl::error&) {
    slices_.clear();
  }
  return !slices_.empty();
}

// Its rows are contiguous: oneDNN's fast product wants them so.
void BlockedMatMul::RunSlice(Slice& slice, const MatMulPiece& piece, uint16_t* x, float* y) {
  thread_local const dnnl::stream stream(CpuEngine());
  const int padded = kPieceRows[piece.size];
  float* rows =
      padded == 1 ? y + slice.begin : Scratch<Use::kResult, float>(int64_t{padded} * slice.count);
  slice.products[piece.size]->Run(x, slice.weights, rows, stream);
  if (padded == 1) return;
  for (int row = 0; row < piece.rows; ++row) {
    std::copy_n(rows + int64_t{row} * slice.count, slice.count,
                y + int64_t{row} * outputs_ + slice.begin);
  }
}

}  // namespace headlong::cpu
