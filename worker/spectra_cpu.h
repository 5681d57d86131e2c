// Second moments of queries, keys and values of a prompt, head by head, on a CPU. One owner; uses
// OpenMP inside.
#pragma once

#include <vector>

#include "worker/attention_shape.h"
#include "worker/batch.h"
#include "worker/probe.h"

namespace headlong {

class SpectraCpu {
 public:
  explicit SpectraCpu(const AttentionShape& shape)
      : head_dim_(shape.head_dim), group_(shape.group), heads_(shape.heads) {}

  // Adds the rows of chunks that ask for it. qkv: [rows][q of held heads | k | v], after rotary
  // embedding and before any projection.
  void Add(int layer, const float* qkv, const Batch& batch);

  // What came together since the last call, by layer and head.
  std::vector<HeadMoments> Take() { return moments_.Take(); }

 private:
  const int head_dim_;
  const int group_;
  const std::vector<std::vector<int>> heads_;  // [layer] -> KV heads held
  MomentsByHead moments_;
};

}  // namespace headlong
