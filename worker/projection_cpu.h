// Projections of heads (cache/projections.h) on a CPU: what a head's queries, keys and values
// become before attention, and what its output is turned back from. Immutable; uses OpenMP inside.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/attention_shape.h"

namespace headlong {

class ProjectionCpu {
 public:
  explicit ProjectionCpu(const AttentionShape& shape);

  // In place, after rotary embedding; the numbers past a head's rank become zeros.
  // qkv: [rows][q of held heads | k | v]
  void Project(int layer, float* qkv, int rows) const;
  // In place. out: [rows][q of held heads]
  void Restore(int layer, float* out, int rows) const;

 private:
  struct Head {
    int key_rank = 0;                  // 0: queries and keys stay as they are
    int value_rank = 0;                // 0: values do
    std::vector<float> keys;           // [key_rank][head_dim]
    std::vector<float> values;         // [value_rank][head_dim]
    std::vector<float> values_turned;  // [head_dim][value_rank]
  };

  const int head_dim_;
  const int group_;
  std::vector<std::vector<Head>> layers_;  // [layer][held head]; empty: no head is projected
};

}  // namespace headlong
