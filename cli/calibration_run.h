// Calibration from end to end on a running cluster: scores, what each choice for each head costs,
// the plan that costs least, held against the paper's rule on text it was not chosen by.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/calibration_prober.h"
#include "coordinator/calibration/evidence_json.h"
#include "coordinator/calibration/projection_fit.h"

namespace headlong {

// What keys and values may be coded as, turned or not.
struct CodeChoice {
  LaneStorage storage;
  Rotation rotation = Rotation::kNone;
};

struct CalibrationOptions {
  double share = 0;   // of the full cache's bytes at Evidence::context; 0: by max_kl
  double max_kl = 0;  // sum of the costs of single heads
  int sinks = 4;
  std::vector<int64_t> windows = {64, 256};
  std::vector<CodeChoice> codes = {};
  std::vector<LaneRank> ranks = {};
  std::vector<bool> compensations = {true};  // windows with a compensation token, without
  int groups = 0;  // of heads made local together, to see whether their costs add up
  uint64_t seed = 1;
  int refinements = 12;  // exchanges of two heads' policies that are tried on the whole plan,
  int steps = 12;        // and, after them, changes of one or two heads' choices
  RepeatParams repeats;
  std::string projections_file;  // as a plan with ranks names it
};

// Sequences to choose by, and longer ones to judge the choice by.
struct CalibrationTexts {
  std::vector<CopyingPrompt> copying;  // none: no needle scores
  std::vector<MeasuredSequence> choosing;
  std::vector<MeasuredSequence> judging;
};

class CalibrationRun {
 public:
  // Told what is done of what there is to do, in pieces of work of about the same length.
  using OnProgress = std::function<void(double done, double total, const std::string& what)>;
  // Told whenever `evidence` has more than before; a later run may begin with it.
  using OnEvidence = std::function<absl::Status(const Evidence& evidence)>;

  // All of these outlive the run. What `evidence` holds already is not measured again; choices in
  // it that the options do not name are dropped.
  CalibrationRun(CalibrationProber& prober, const CalibrationOptions& options,
                 const CalibrationTexts& texts, Evidence& evidence)
      : prober_(prober), options_(options), texts_(texts), evidence_(evidence) {}

  // The chosen plan; `evidence` then holds everything. CANCELLED when `stop` says so.
  absl::StatusOr<Plan> Run(const OnProgress& progress, const OnEvidence& save,
                           const std::function<bool()>& stop);

 private:
  absl::Status MeasureScores();
  void DropOthers();
  absl::Status MeasureCosts();
  absl::Status MeasureGroups();
  absl::StatusOr<double> Measure(const Plan& plan);
  absl::StatusOr<Plan> Complete(Plan plan);
  absl::StatusOr<Plan> Choose(double share) const;
  absl::StatusOr<Plan> Refine(Plan plan, double share);
  absl::StatusOr<Plan> Exchange(Plan plan, double& kl);
  absl::StatusOr<Plan> TakeSteps(Plan plan, double kl, double share);
  absl::Status Judge(const std::string& name, const Plan& plan);
  absl::Status JudgeLayers(const Plan& paper);
  absl::Status Step(const std::string& what);

  CalibrationProber& prober_;
  const CalibrationOptions& options_;
  const CalibrationTexts& texts_;
  Evidence& evidence_;
  OnProgress progress_;
  OnEvidence save_;
  std::function<bool()> stop_;
  std::vector<HeadSpectra> spectra_;  // by layer * kv_heads + head; empty: no rank is asked for
  std::map<std::tuple<size_t, int, int>, HeadProjections> fitted_;  // by head and rank
  double done_ = 0;
  double total_ = 0;
};

}  // namespace headlong
