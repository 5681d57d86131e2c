// Published head patterns as plans: a table of numbers, one line per layer, one column per KV head,
// separated by tabs, spaces or commas. Lists hold 0 and 1; scores are higher for heads that need
// everything (DuoAttention's full_attention_heads.tsv).
#pragma once

#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "cache/plan.h"

namespace headlong {

struct ScoreOptions {
  std::optional<double> sparsity;  // share of local heads, [0, 1]; without: scores >= 0.5 keep all
  int sinks = 4;
  int64_t window_tokens = 256;
};

// As many heads as the sparsity asks for, rounded half up, become local: the lowest scores, of
// equal ones the later head. INVALID_ARGUMENT names the line and column that is no number, or
// another shape than the model's.
absl::StatusOr<Plan> PlanFromScores(std::string_view text, const PlanShape& shape,
                                    const ScoreOptions& options, std::string_view source);

}  // namespace headlong
