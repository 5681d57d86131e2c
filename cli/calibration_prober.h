// Measures plans and heads on a running cluster: one prompt at a time, through Generate and its
// probe. Blocks the caller.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/plan.h"
#include "cli/calibration_text.h"
#include "cli/client.h"
#include "coordinator/calibration/evidence.h"
#include "coordinator/calibration/projection_fit.h"

namespace headlong {

struct RepeatParams {
  std::vector<uint32_t> start;  // in front of the copies
  std::vector<uint32_t> ids;    // one copy
  int copies = 4;
};

class CalibrationProber {
 public:
  // `client` outlives the prober. REQUIRES: nobody else uses the cluster.
  explicit CalibrationProber(Client& client, const PlanShape& shape, int query_heads)
      : client_(client), shape_(shape), group_(query_heads / shape.kv_heads) {}

  // Attention scores with the cache in full (DESIGN 5.1): of each KV head the largest of its group,
  // each score by itself.
  absl::StatusOr<HeadScores> Scores(const RepeatParams& params);

  // Adds what the prompts tell, with the cache in full: scores.needle and scores.similarity.
  absl::Status AddNeedleScores(const std::vector<CopyingPrompt>& prompts, HeadScores& scores);

  // What every head makes of the sequences, with the cache in full: sums over all of them. By layer
  // * kv_heads + head.
  absl::StatusOr<std::vector<HeadSpectra>> Spectra(const std::vector<MeasuredSequence>& sequences,
                                                   int head_dim);

  // Computes the sequences with the cache in full and keeps their distributions, as what `Measure`
  // compares with. At most kMostSets sets are kept, by number.
  absl::Status Keep(int set, const std::vector<MeasuredSequence>& sequences);

  // The mean over the set's sequences of their mean KL(full || plan), nats per token.
  absl::StatusOr<double> Measure(int set, const std::vector<MeasuredSequence>& sequences,
                                 const Plan& plan);

  static constexpr int kMostSets = 16;

 private:
  absl::Status Apply(const Plan& plan);
  absl::StatusOr<v1::ProbeResult> Run(const std::vector<uint32_t>& ids, const v1::Probe& probe);

  Client& client_;
  const PlanShape shape_;
  const int group_;
  std::string applied_;  // as JSON
};

}  // namespace headlong
