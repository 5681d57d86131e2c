#include "worker/projection_cpu.h"

#include <algorithm>

#include "worker/kernels/op_cpu.h"

namespace headlong {
namespace {

// x: [vectors][dims] becomes its products with `weights` [outputs][inputs], then zeros.
struct InPlace {
  const std::vector<float>& weights;
  int inputs = 0;
  int outputs = 0;
  int dims = 0;
};

void Turn(const InPlace& turn, float* x, int vectors) {
  float from[kMaxHeadDim];
  for (int v = 0; v < vectors; ++v, x += turn.dims) {
    std::copy_n(x, turn.inputs, from);
    cpu::MultiplyRow(from, turn.weights.data(), turn.outputs, turn.inputs, x);
    std::fill(x + turn.outputs, x + turn.dims, 0.0f);
  }
}

}  // namespace

ProjectionCpu::ProjectionCpu(const AttentionShape& shape)
    : head_dim_(shape.head_dim), group_(shape.group) {
  for (const std::vector<HeadProjections>& layer : shape.projections) {
    std::vector<Head>& heads = layers_.emplace_back();
    for (const HeadProjections& from : layer) {
      Head& head = heads.emplace_back();
      head.key_rank = static_cast<int>(from.keys.size()) / head_dim_;
      head.value_rank = static_cast<int>(from.values.size()) / head_dim_;
      head.keys = from.keys;
      head.values = from.values;
      head.values_turned.resize(from.values.size());
      for (int r = 0; r < head.value_rank; ++r) {
        for (int i = 0; i < head_dim_; ++i) {
          head.values_turned[i * head.value_rank + r] = from.values[r * head_dim_ + i];
        }
      }
    }
  }
}

void ProjectionCpu::Project(int layer, float* qkv, int rows) const {
  if (layers_.empty()) return;
  const std::vector<Head>& heads = layers_[layer];
  const int count = static_cast<int>(heads.size()), d = head_dim_;
  const int64_t columns = int64_t{count} * (group_ + 2) * d;
#pragma omp parallel for schedule(static) if (rows > 4)
  for (int row = 0; row < rows; ++row) {
    float* const q = qkv + row * columns;
    float* const k = q + int64_t{count} * group_ * d;
    float* const v = k + int64_t{count} * d;
    for (int h = 0; h < count; ++h) {
      const Head& head = heads[h];
      const InPlace keys{head.keys, d, head.key_rank, d};
      const InPlace values{head.values, d, head.value_rank, d};
      if (head.key_rank > 0) {
        Turn(keys, q + int64_t{h} * group_ * d, group_);
        Turn(keys, k + int64_t{h} * d, 1);
      }
      if (head.value_rank > 0) Turn(values, v + int64_t{h} * d, 1);
    }
  }
}

void ProjectionCpu::Restore(int layer, float* out, int rows) const {
  if (layers_.empty()) return;
  const std::vector<Head>& heads = layers_[layer];
  const int64_t columns = static_cast<int64_t>(heads.size()) * group_ * head_dim_;
#pragma omp parallel for schedule(static) if (rows > 4)
  for (int row = 0; row < rows; ++row) {
    float* head_out = out + row * columns;
    for (const Head& head : heads) {
      if (head.value_rank > 0) {
        Turn({head.values_turned, head.value_rank, head_dim_, head_dim_}, head_out, group_);
      }
      head_out += int64_t{group_} * head_dim_;
    }
  }
}

}  // namespace headlong
