// `calibrate` of a model with ALiBi: how far its heads see by their weights, the plan that follows,
// and what it loses on a text. Uses a running cluster for the last alone. Blocks the caller.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/calibration_prober.h"
#include "coordinator/calibration/evidence_json.h"

namespace headlong {

struct ScopeFlags {
  std::string model;    // folder
  std::string windows;  // to choose from, with commas; empty: each head's own scope
  std::string out;
  std::string evidence;  // empty: not written, as `report`
  std::string report;
  bool scores_only = false;  // no plan: `out` is evidence
  bool dummy = false;        // the folder has no weights
};

// Fills `evidence` with scopes, the plan and its KL over `judging`, and writes the files that the
// flags name.
absl::Status CalibrateByScopes(const ScopeFlags& flags,
                               const std::vector<MeasuredSequence>& judging,
                               CalibrationProber& prober, Evidence& evidence);

}  // namespace headlong
