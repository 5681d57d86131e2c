// How far the heads of a model with ALiBi see, by its weights alone, and the plan that follows
// (RazorAttention, arXiv 2407.15891, section 3.1). Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/plan.h"
#include "model/checkpoint.h"
#include "model/config.h"

namespace headlong {

// What is below this share of a softmax counts as nothing.
inline constexpr double kScopeEpsilon = 1e-3;

// The largest singular value of W_Q^T W_K: how large x.W_Q^T W_K.y can be for x and y of length 1.
// query, key: [head_dim][hidden].
double ProductNorm(std::span<const float> query, std::span<const float> key, int head_dim);

// The distance L_h from which on a key's share of the softmax is below `epsilon`, whatever is read:
// (2 |W_Q W_K|_2 (|gamma|^2 + |b|^2) - ln epsilon) / slope. product_norm: of the logits as the
// softmax gets them, 1 / sqrt(head_dim) included; norm_squares: |gamma|^2 + |b|^2 of the norm
// before attention.
double AlibiScope(double product_norm, double norm_squares, double slope, double epsilon);

// Of every KV head the largest of its query heads. By layer * kv_heads + head. Reads the
// checkpoint's norms, queries and keys.
// REQUIRES: config.alibi().
std::vector<double> AlibiScopes(const ModelConfig& config, const Checkpoint& checkpoint,
                                double epsilon = kScopeEpsilon);

// Heads whose scope is below the context are windows of it, without sinks and compensation; the
// others keep everything. A window is the least of `windows` that holds the scope, and there being
// none a head keeps everything; where `windows` is empty, the scope rounded up: to whole blocks and
// by at most an eighth, so that heads share few policies.
struct ScopeRule {
  int64_t context = 0;
  std::vector<int64_t> windows = {};
};
Plan ScopePlan(const PlanShape& shape, const std::vector<double>& scopes, const ScopeRule& rule);

}  // namespace headlong
