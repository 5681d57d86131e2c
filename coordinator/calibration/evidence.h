// What calibration measured about the heads of a model: what plans are chosen from.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "cache/policy.h"

namespace headlong {

// Attention scores of every KV head, each the maximum over the query heads of its group: echo and
// induction on repeated random ids (RazorAttention); of needles the share of answers' tokens at
// which the head's largest attention is on that token in the needle (Wu et al. 2024, arXiv
// 2404.15574). Index: layer * kv_heads + head.
struct HeadScores {
  int layers = 0;
  int kv_heads = 0;
  std::vector<double> echo;
  std::vector<double> induction;
  std::vector<double> needle = {};      // empty: not measured
  std::vector<double> similarity = {};  // by layer: mean cosine of the residual stream before and
                                        // after attention; empty: not measured
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

// Heads that were made local together, and what they cost: whether single costs add up.
struct GroupCost {
  std::vector<std::pair<int, int>> heads;  // layer and head
  int64_t window_tokens = 0;
  double kl = 0;
  double sum = 0;  // of what each costs alone
};

}  // namespace headlong
