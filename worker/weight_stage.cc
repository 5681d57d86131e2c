#include "worker/weight_stage.h"

#include <algorithm>
#include <cstring>

namespace headlong {
namespace {

constexpr int64_t kBufferBytes = int64_t{16} << 20;
constexpr int64_t kPieceBytes = int64_t{256} << 10;  // of one thread's copy

cuda::ElementType ElementOf(TensorType type) {
  switch (type) {
    case TensorType::kFloat32:
      return cuda::ElementType::kFloat32;
    case TensorType::kFloat16:
      return cuda::ElementType::kFloat16;
    case TensorType::kBfloat16:
      break;
  }
  return cuda::ElementType::kBfloat16;
}

// The block's bytes without gaps.
void Gather(const TensorBlock& block, std::byte* out) {
  const int64_t element = ElementBytes(block.tensor->type);
  const int64_t stride = block.tensor_columns() * element;
  const int64_t bytes = block.columns * element;
  const std::byte* first = block.tensor->data + block.row * stride + block.column * element;
  if (bytes == stride) {
    const int64_t all = block.rows * bytes;
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < all; at += kPieceBytes) {
      std::memcpy(out + at, first + at, std::min(kPieceBytes, all - at));
    }
    return;
  }
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < block.rows; ++row) {
    std::memcpy(out + row * bytes, first + row * stride, bytes);
  }
}

}  // namespace

WeightStage::WeightStage(cudaStream_t stream) : stream_(stream) {
  for (Buffer& buffer : buffers_) {
    buffer.host = cuda::PinnedArray<std::byte>(kBufferBytes);
    buffer.device = cuda::DeviceArray<std::byte>(kBufferBytes);
  }
}

void WeightStage::Load(const MatrixSource& source, const cuda::MatrixBlock& to) {
  const int64_t element = to.type == cuda::ElementType::kFloat32 ? 4 : 2;
  cuda::MatrixBlock place = to;
  for (const TensorBlock& block : source.blocks) {
    place.rows = block.rows;
    place.columns = block.columns;
    if (block.tensor->data == nullptr) {
      cuda::FillBlock({block.tensor->dummy, block.tensor_columns(), block.row, block.column}, place,
                      stream_);
    } else {
      LoadBlock(block, place);
    }
    const int64_t passed = source.side_by_side ? block.columns : block.rows * place.pitch;
    place.first = static_cast<std::byte*>(place.first) + passed * element;
  }
}

// REQUIRES: a row fits into a buffer: at most 4M columns.
void WeightStage::LoadBlock(const TensorBlock& block, const cuda::MatrixBlock& to) {
  const int64_t row_bytes = block.columns * ElementBytes(block.tensor->type);
  if (row_bytes == 0) return;
  const int64_t to_bytes = to.pitch * (to.type == cuda::ElementType::kFloat32 ? 4 : 2);
  const int64_t most = std::max<int64_t>(1, kBufferBytes / row_bytes);
  for (int64_t done = 0; done < block.rows; done += most) {
    Buffer& buffer = buffers_[next_];
    next_ = 1 - next_;
    TensorBlock part = block;
    part.row += done;
    part.rows = std::min(most, block.rows - done);
    buffer.free.Wait();
    Gather(part, buffer.host.get());
    cuda::CheckCuda(cudaMemcpyAsync(buffer.device.get(), buffer.host.get(), part.rows * row_bytes,
                                    cudaMemcpyHostToDevice, stream_),
                    "sending weights");
    cuda::MatrixBlock place = to;
    place.first = static_cast<std::byte*>(to.first) + done * to_bytes;
    place.rows = part.rows;
    cuda::ConvertBlock(buffer.device.get(), ElementOf(block.tensor->type), place, stream_);
    buffer.free.Record(stream_);
  }
}

}  // namespace headlong
