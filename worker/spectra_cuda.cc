#include "worker/spectra_cuda.h"

namespace headlong {
namespace {

using cuda::CheckCuda;

// sums += the lower triangle of a matrix, by rows.
void AddTriangle(const float* matrix, int dims, std::vector<double>& sums) {
  sums.resize(static_cast<size_t>(dims) * (dims + 1) / 2, 0.0);
  double* to = sums.data();
  for (int i = 0; i < dims; ++i) {
    for (int j = 0; j <= i; ++j) *to++ += matrix[i * dims + j];
  }
}

}  // namespace

SpectraCuda::SpectraCuda(const AttentionShape& shape)
    : head_dim_(shape.head_dim), group_(shape.group), heads_(shape.heads) {}

void SpectraCuda::BeginBatch(const Batch& batch) {
  asked_.clear();
  for (const Chunk& chunk : batch.chunks) {
    if (chunk.spectra) asked_.push_back({chunk.first_row, chunk.count});
  }
}

void SpectraCuda::Add(int layer, const float* qkv, const float* cos_sin, cudaStream_t stream) {
  for (const Rows& asked : asked_) {
    cuda::MomentRows rows;
    rows.heads = static_cast<int32_t>(heads_[layer].size());
    rows.group = group_;
    rows.head_dim = head_dim_;
    rows.rows = asked.count;
    rows.qkv = qkv + int64_t{asked.first} * rows.heads * (group_ + 2) * head_dim_;
    rows.cos_sin = cos_sin + int64_t{asked.first} * head_dim_;
    AddChunk(layer, rows, stream);
  }
}

void SpectraCuda::AddChunk(int layer, const cuda::MomentRows& rows, cudaStream_t stream) {
  const int64_t matrix = int64_t{head_dim_} * head_dim_;
  const int64_t count = 3 * rows.heads * matrix;
  if (sums_.size() < count) sums_ = cuda::DeviceArray<float>(count);
  cuda::MomentRows to = rows;
  to.sums = sums_.get();
  CheckCuda(cuda::LaunchMoments(to, stream), "moments");
  read_.resize(count);
  CheckCuda(cudaMemcpyAsync(read_.data(), sums_.get(), count * sizeof(float),
                            cudaMemcpyDeviceToHost, stream),
            "reading moments");
  CheckCuda(cudaStreamSynchronize(stream), "reading moments");
  for (int i = 0; i < rows.heads; ++i) {
    HeadMoments& moments = moments_.Of(layer, heads_[layer][i]);
    const float* from = &read_[3 * i * matrix];
    AddTriangle(from, head_dim_, moments.queries);
    AddTriangle(from + matrix, head_dim_, moments.keys);
    AddTriangle(from + 2 * matrix, head_dim_, moments.values);
  }
}

}  // namespace headlong
