#include "worker/spectra_cpu.h"

#include <algorithm>

namespace headlong {
namespace {

// Vectors of `dims` floats: `count` rows of `vectors` that stand next to each other.
struct Vectors {
  const float* first = nullptr;
  int64_t stride = 0;  // from a row to the next
  int count = 0;
  int vectors = 1;
  int dims = 0;
};

// sums += x x^T of each, the lower triangle by rows. In fp32 over a few rows, in fp64 over all.
void AddMoments(const Vectors& x, std::vector<double>& sums) {
  constexpr int kRows = 64;
  const size_t numbers = static_cast<size_t>(x.dims) * (x.dims + 1) / 2;
  sums.resize(numbers, 0.0);
  std::vector<float> block;
  for (int begin = 0; begin < x.count; begin += kRows) {
    block.assign(numbers, 0.0f);
    for (int row = begin; row < std::min(begin + kRows, x.count); ++row) {
      for (int v = 0; v < x.vectors; ++v) {
        const float* numbers_of = x.first + row * x.stride + int64_t{v} * x.dims;
        float* to = block.data();
        for (int i = 0; i < x.dims; to += ++i) {
#pragma omp simd
          for (int j = 0; j <= i; ++j) to[j] += numbers_of[i] * numbers_of[j];
        }
      }
    }
    for (size_t i = 0; i < numbers; ++i) sums[i] += block[i];
  }
}

}  // namespace

void SpectraCpu::Add(int layer, const float* qkv, const Batch& batch) {
  const std::vector<int>& held = heads_[layer];
  const auto count = static_cast<int64_t>(held.size());
  const int64_t columns = count * (group_ + 2) * head_dim_;
  for (const Chunk& chunk : batch.chunks) {
    if (!chunk.spectra) continue;
    std::vector<HeadMoments*> sums;
    for (const int head : held) sums.push_back(&moments_.Of(layer, head));
#pragma omp parallel for schedule(dynamic)
    for (int64_t h = 0; h < count; ++h) {
      const float* const rows = qkv + chunk.first_row * columns;
      Vectors x{rows + h * group_ * head_dim_, columns, chunk.count, group_, head_dim_};
      AddMoments(x, sums[h]->queries);
      x.vectors = 1;
      x.first = rows + (count * group_ + h) * head_dim_;
      AddMoments(x, sums[h]->keys);
      x.first += count * head_dim_;
      AddMoments(x, sums[h]->values);
    }
  }
}

}  // namespace headlong
