// Any bytes as an evidence file: refused with a message, or evidence that survives a round trip and
// that plans can be chosen from.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "coordinator/calibration/evidence_json.h"
#include "tests/fuzz/require.h"

using headlong::Require;

namespace {

constexpr int kMostHeads = 64;  // beyond, the optimiser takes longer than a fuzzer has

void CheckPlans(const headlong::Evidence& evidence) {
  const auto curve = headlong::CostCurve(evidence.shape, evidence.costs, evidence.budget());
  if (!curve.ok()) return;  // a choice stands twice
  Require(!curve->empty() && curve->back().kl == 0);
  headlong::Budget budget = evidence.budget();
  budget.share = 0.5;
  const auto plan = headlong::BudgetPlan(evidence.shape, evidence.costs, budget);
  if (plan.ok()) {
    Require(static_cast<double>(evidence.BytesOf(*plan)) <=
            0.5 * static_cast<double>(evidence.FullBytes()) + 1);
    Require(headlong::PredictedKl(evidence.costs, *plan).ok());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto evidence = headlong::ParseEvidence(text, "evidence.json");
  if (!evidence.ok()) {
    Require(!evidence.status().message().empty());
    return 0;
  }
  const std::string written = headlong::EvidenceJson(*evidence);
  const auto again = headlong::ParseEvidence(written, "round trip");
  Require(again.ok() && headlong::EvidenceJson(*again) == written);
  if (evidence->shape.layers * evidence->shape.kv_heads <= kMostHeads) CheckPlans(*evidence);
  return 0;
}
