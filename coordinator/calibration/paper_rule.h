// RazorAttention's choice of retrieval heads by score (arXiv 2407.15891). Pure.
#pragma once

#include <cstdint>

#include "cache/plan.h"
#include "coordinator/calibration/evidence.h"

namespace headlong {

struct PaperRule {
  double induction_share = 0.14;  // of all KV heads of the model, by induction score
  double echo_share = 0.01;       // united with these, by echo score
  int sinks = 4;
  int64_t window_tokens = 256;
};

// The top shares of heads by each score keep everything, all others are local with a compensation
// token. Counts are rounded half up and at least one; heads that tie with the last one are all
// kept.
// REQUIRES: a score of each kind for every head.
Plan PaperRulePlan(const HeadScores& scores, const PaperRule& rule);

}  // namespace headlong
