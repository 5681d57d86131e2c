#include "coordinator/calibration/paper_rule.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

namespace headlong {
namespace {

// The lowest score that the top `share` of them still has.
double Threshold(std::vector<double> scores, double share) {
  const auto rounded =
      static_cast<int64_t>(std::floor(share * static_cast<double>(scores.size()) + 0.5));
  const int64_t count = std::clamp<int64_t>(rounded, 1, static_cast<int64_t>(scores.size()));
  std::nth_element(scores.begin(), scores.begin() + count - 1, scores.end(), std::greater<>());
  return scores[count - 1];
}

}  // namespace

Plan PaperRulePlan(const HeadScores& scores, const PaperRule& rule) {
  const double induction = Threshold(scores.induction, rule.induction_share);
  const double echo = Threshold(scores.echo, rule.echo_share);
  HeadPolicy retrieval, local;
  retrieval.name = "retrieval";
  local.name = "local";
  local.sinks = rule.sinks;
  local.window_tokens = rule.window_tokens;
  std::vector<HeadPolicy> heads;
  for (size_t i = 0; i < scores.induction.size(); ++i) {
    const bool keeps_all = scores.induction[i] >= induction || scores.echo[i] >= echo;
    heads.push_back(keeps_all ? retrieval : local);
  }
  return Plan::FromPolicies({scores.layers, scores.kv_heads}, heads);
}

}  // namespace headlong
