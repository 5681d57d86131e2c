// Two plans of one model side by side: the heads that differ, and what both take. Pure.
#pragma once

#include <string>
#include <vector>

#include "cache/plan.h"
#include "cli/head_map.h"
#include "cli/json_output.h"

namespace headlong {

struct HeadDifference {
  int layer = 0;
  int head = 0;
  HeadPolicy a;
  HeadPolicy b;
  int64_t a_bytes = 0;  // of the head's lane
  int64_t b_bytes = 0;
};

struct PlanDiff {
  Plan a;
  Plan b;
  CacheMapParams at;                  // a prompt of at.length tokens
  std::vector<HeadDifference> heads;  // by layer and head
  bool same_rules = true;             // prefill and block_tokens
  bool same() const { return same_rules && heads.empty(); }
};

// Policies are compared by what they keep, not by name. REQUIRES: plans of the same shape.
PlanDiff DiffPlans(const Plan& a, const Plan& b, const CacheMapParams& at);

// {"same","length","heads":[{"layer","head","a","b","a_bytes","b_bytes"}],"a":{..},"b":{..},
// "full_cache_bytes"}; of both plans {"prefill","block_tokens","cache_bytes","share"}.
OutputJson PlanDiffJson(const PlanDiff& diff);
// A map of the heads that differ, the kinds of change, and the bytes of both.
std::string PlanDiffText(const PlanDiff& diff, const MapStyle& style);

}  // namespace headlong
