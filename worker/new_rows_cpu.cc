#include "worker/new_rows_cpu.h"

#include <algorithm>
#include <new>

#include "common/status.h"
#include "worker/kernels/op_cpu.h"

namespace headlong {
namespace {

void EncodeRows(const float* rows, int64_t stride, int count, const RowFormat& format, Row out) {
  if (!IsCoded(format.type)) {
    return cpu::StoreRows(rows, stride, count, format.dims, format.type, out.codes);
  }
#pragma omp parallel for schedule(static) if (count > 16)
  for (int i = 0; i < count; ++i) EncodeRow(rows + i * stride, format, out.At(format, i));
}

NewRows From(NewRows rows, const LaneFormat& format, int64_t row) {
  rows.keys = rows.keys.At(format.keys, row);
  rows.values = rows.values.At(format.values, row);
  if (rows.sink_keys.codes == nullptr) return rows;
  rows.sink_keys = rows.sink_keys.At(format.sink_keys(), row);
  rows.sink_values = rows.sink_values.At(format.sink_values(), row);
  return rows;
}

}  // namespace

absl::StatusOr<NewRowsCpu> NewRowsCpu::Create(const Shape& shape,
                                              std::span<const LaneFormat> formats) {
  NewRowsCpu rows;
  rows.shape_ = shape;
  for (const LaneFormat& format : formats) {
    rows.token_bytes_ = std::max(rows.token_bytes_, format.new_token_bytes());
  }
  const int64_t step = shape.heads * rows.token_bytes_ * shape.max_rows;
  const int64_t exact = shape.heads * rows.token_bytes_ * shape.exact_context;
  rows.step_.reset(new (std::nothrow) std::byte[step]);
  rows.exact_.reset(new (std::nothrow) std::byte[exact]);
  if (rows.step_ == nullptr || rows.exact_ == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for ", step + exact, " bytes of attention scratch"));
  }
  return rows;
}

// `count` rows of each kind, one kind after the other.
NewRows NewRowsCpu::Rows(std::byte* memory, const LaneFormat& format, int64_t count) const {
  NewRows rows;
  const auto take = [&](const RowFormat& kind) {
    std::byte* const begin = memory;
    memory += count * kind.bytes();
    return RowsIn(begin, kind, count);
  };
  rows.keys = take(format.keys);
  rows.values = take(format.values);
  if (format.sinks == 0) return rows;
  rows.sink_keys = take(format.sink_keys());
  rows.sink_values = take(format.sink_values());
  return rows;
}

void NewRowsCpu::Round(int head, const LaneFormat& format, const float* keys, const float* values,
                       int64_t stride, const Batch& batch) {
  NewRows rows = Rows(&step_[head * token_bytes_ * shape_.max_rows], format, shape_.max_rows);
  EncodeRows(keys, stride, batch.rows(), format.keys, rows.keys);
  EncodeRows(values, stride, batch.rows(), format.values, rows.values);
  for (const Chunk& chunk : batch.chunks) {
    const auto plain =
        static_cast<int>(std::min<int64_t>(format.sinks - chunk.position, chunk.count));
    if (plain <= 0) continue;
    const NewRows first = From(rows, format, chunk.first_row);
    const int64_t skipped = chunk.first_row * stride;
    EncodeRows(keys + skipped, stride, plain, format.sink_keys(), first.sink_keys);
    EncodeRows(values + skipped, stride, plain, format.sink_values(), first.sink_values);
  }
}

NewRows NewRowsCpu::OfChunk(int head, const LaneFormat& format, const Chunk& chunk) {
  std::byte* const memory = &step_[head * token_bytes_ * shape_.max_rows];
  NewRows rows = From(Rows(memory, format, shape_.max_rows), format, chunk.first_row);
  rows.begin = chunk.position;
  rows.end = chunk.end();
  return rows;
}

NewRows NewRowsCpu::AddToPrompt(int head, const LaneFormat& format, const Chunk& chunk) {
  std::byte* const memory = &exact_[head * token_bytes_ * shape_.exact_context];
  NewRows all = Rows(memory, format, shape_.exact_context);
  const NewRows from = OfChunk(head, format, chunk);
  const NewRows to = From(all, format, chunk.position);
  CopyRows(format.keys, from.keys, chunk.count, to.keys);
  CopyRows(format.values, from.values, chunk.count, to.values);
  const int64_t plain = std::min<int64_t>(format.sinks - chunk.position, chunk.count);
  if (plain > 0) {
    CopyRows(format.sink_keys(), from.sink_keys, plain, to.sink_keys);
    CopyRows(format.sink_values(), from.sink_values, plain, to.sink_values);
  }
  all.end = chunk.end();
  return all;
}

}  // namespace headlong
