// What a plan is held against: the model that it is for. Plain values.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace headlong {

struct PlanShape {
  int layers = 0;
  int kv_heads = 0;
  std::string model_fingerprint = {};  // checked when the plan names one and this is not empty
  // By layer, 0: none; empty: no layer has one. Load bounds the plan by them.
  std::vector<int64_t> layer_windows = {};
  int head_dim = 0;  // ranks are checked against it where it is not 0
  // Logits fall with the distance of a key (ALiBi). What a window dropped has no distance of its
  // own, so no policy has a compensation token: absent it is "none", and "mean" is refused.
  bool alibi = false;
};

// Of a ModelConfig, which this folder does not know.
template <typename Config>
PlanShape PlanShapeOf(const Config& config, std::string model_fingerprint = {}) {
  return {config.layers,        config.kv_heads, std::move(model_fingerprint),
          config.layer_windows, config.head_dim, config.alibi()};
}

}  // namespace headlong
