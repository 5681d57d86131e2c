// What calibration measured about the heads of a model: what plans are chosen from.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "cache/policy.h"

namespace headlong {

// Attention scores of every KV head on repeated random ids (DESIGN 5.1), each the maximum over the
// query heads of its group. Index: layer * kv_heads + head.
struct HeadScores {
  int layers = 0;
  int kv_heads = 0;
  std::vector<double> echo;
  std::vector<double> induction;
};

// What one choice for one head costs: mean KL(full || changed), in nats per token, when only this
// head is changed and every other head keeps everything, in the cache's own type. A choice is a
// window, or codes to store everything as, or a rank; of a head that has several of these the costs
// are taken to add up.
struct HeadCost {
  int layer = 0;
  int head = 0;
  int sinks = 0;
  int64_t window_tokens = 0;  // 0: keeps everything
  bool compensation = true;
  double kl = 0;
  LaneStorage storage = {};
  LaneRank rank = {};
  Rotation rotation = Rotation::kNone;  // beside codes
  bool operator==(const HeadCost&) const = default;
};

}  // namespace headlong
