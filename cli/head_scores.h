// Published head patterns as plans, and plans as such patterns. A table of numbers has one line per
// layer and one column per KV head (or per query head: a head is what the highest of its group is),
// separated by tabs, spaces or commas. Lists hold 0 and 1; scores are higher for heads that need
// everything. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cache/plan.h"

namespace headlong {

enum class HeadFormat {
  kAuto,   // JSON: kRazor; else a table, as kDuo
  kDuo,    // DuoAttention's and LServe's full_attention_heads.tsv: learnt scores about [0, 1]
  kRazor,  // RazorAttention's lists: a table of 0 and 1, or
           // {"prefix_matching": {"LAYER": [HEAD, ..]}, "copying": {..}}, united
  kKvzip,  // KVzip's head scores: the highest share of a prompt's keys that a head needs
};
// "auto", "duo", "razor", "kvzip". REQUIRES: one of them.
HeadFormat HeadFormatOf(std::string_view name);

struct ScoreOptions {
  std::optional<double> sparsity;  // share of local heads, [0, 1]; without: scores >= 0.5 keep all
  int sinks = 4;
  int64_t window_tokens = 256;
  Compensation compensation = Compensation::kMean;
  HeadFormat format = HeadFormat::kAuto;
  int q_heads = 0;  // of a layer; 0: only KV heads are known
};

// As many heads as the sparsity asks for, rounded half up, become local: the lowest scores, of
// equal ones the later head. INVALID_ARGUMENT names the line and column that is no number, or
// another shape than the model's; a list that is not of 0 and 1 or comes with a sparsity; KVzip
// scores without one, since they have no natural threshold.
absl::StatusOr<Plan> PlanFromScores(std::string_view text, const PlanShape& shape,
                                    const ScoreOptions& options, std::string_view source);

// Which heads keep everything, as PlanFromScores reads it: 1 for them and 0 for all others, and the
// JSON of kRazor. What local heads keep is lost.
std::string HeadPattern(const Plan& plan, HeadFormat format);

}  // namespace headlong
