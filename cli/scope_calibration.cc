#include "cli/scope_calibration.h"

#include <cstdint>

#include "cli/calibration_report.h"
#include "cli/json_output.h"
#include "cli/quantity.h"
#include "common/status.h"
#include "coordinator/calibration/alibi_scope.h"
#include "model/checkpoint.h"
#include "model/config.h"

namespace headlong {
namespace {

constexpr int kSet = 0;  // of the prober's

absl::Status WriteEvidence(const std::string& path, const Evidence& evidence,
                           const std::string& flag) {
  return WriteText(path, EvidenceJson(evidence) + "\n", flag);
}

}  // namespace

absl::Status CalibrateByScopes(const ScopeFlags& flags,
                               const std::vector<MeasuredSequence>& judging,
                               CalibrationProber& prober, Evidence& evidence) {
  ScopeRule rule{.context = evidence.context};
  if (!flags.windows.empty()) {
    ASSIGN_OR_RETURN(rule.windows, ParseIntegerList(flags.windows, 1, INT32_MAX));
  }
  ASSIGN_OR_RETURN(const ModelConfig config, LoadModelConfig(flags.model));
  ASSIGN_OR_RETURN(const auto checkpoint,
                   flags.dummy ? Checkpoint::Dummy(config) : Checkpoint::Open(flags.model, config));
  evidence.shape.alibi = true;
  evidence.scopes = AlibiScopes(config, *checkpoint);
  if (flags.scores_only) return WriteEvidence(flags.out, evidence, "--out");

  const Plan plan = ScopePlan(evidence.shape, evidence.scopes, rule);
  RETURN_IF_ERROR(prober.Keep(kSet, judging));
  ASSIGN_OR_RETURN(const double kl, prober.Measure(kSet, judging, plan));
  evidence.plans = {{"by scope", plan, kl, {}}};
  RETURN_IF_ERROR(WriteText(flags.out, plan.ToJson() + "\n", "--out"));
  if (!flags.evidence.empty()) {
    RETURN_IF_ERROR(WriteEvidence(flags.evidence, evidence, "--evidence"));
  }
  if (flags.report.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string page, ReportHtml(evidence));
  return WriteText(flags.report, page, "--report");
}

}  // namespace headlong
