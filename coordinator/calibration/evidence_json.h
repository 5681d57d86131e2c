// All that calibration has to show, and the file it is kept in. Pure.
//
// {"version":1,"model":"needle-10m","model_fingerprint":"..","layers":8,"kv_heads":4,"head_dim":64,
//  "element_bytes":2,"context":8192,
//  "scores":{"echo":[[a number per KV head] per layer],"induction":[..],"needle":[..],
//            "similarity":[a number per layer]},"scopes":[[..],..],
//  "costs":[{"layer":0,"head":0,"sinks":4,"window_tokens":256,"compensation":"mean","kl":0.01},..],
//  "groups":[{"heads":[[6,1],[2,1]],"window_tokens":64,"kl":0.5,"sum":0.4},..],
//  "plans":[{"name":"paper's rule","kl":0.2,"plan":{plan.json},
//            "needle":[{"length":8192,"depth":0.5,"trials":40,"correct":40},..]},..]}
// model_fingerprint, scores and their needle and similarity, scopes, costs, groups, plans and their
// needle may be absent.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/plan.h"
#include "coordinator/calibration/budget_plan.h"
#include "coordinator/calibration/evidence.h"

namespace headlong {

// How often a planted fact was found at a length and depth: a row of `bench needle`.
struct RecallCell {
  int64_t length = 0;
  double depth = 0;
  int trials = 0;
  int correct = 0;
};

// A whole plan that ran over held-out text at Evidence::context.
struct MeasuredPlan {
  std::string name;
  Plan plan;
  double kl = 0;  // mean KL(full || plan), nats per token
  std::vector<RecallCell> needle;
};

struct Evidence {
  std::string model;
  PlanShape shape;
  int head_dim = 0;
  int element_bytes = 0;
  int64_t context = 0;
  HeadScores scores;           // empty vectors: not measured
  std::vector<double> scopes;  // of a model with ALiBi: tokens, by layer * kv_heads + head
  std::vector<HeadCost> costs;
  std::vector<GroupCost> groups;
  std::vector<MeasuredPlan> plans;

  Budget budget() const { return {context, head_dim, element_bytes, 1.0}; }
  int64_t BytesOf(const Plan& plan) const {
    return plan.SequenceBytes(context, context, head_dim, element_bytes);
  }
  int64_t FullBytes() const {
    return Plan::Full(shape.layers, shape.kv_heads)
        .FullSequenceBytes(context, head_dim, element_bytes);
  }
};

// One line. ParseEvidence(EvidenceJson(e)) is e.
std::string EvidenceJson(const Evidence& evidence);

// INVALID_ARGUMENT names the field that is missing, unknown, out of range or of another shape than
// layers and kv_heads say. `source` is how errors name the text.
absl::StatusOr<Evidence> ParseEvidence(std::string_view text, std::string_view source);

}  // namespace headlong
