#include "cli/calibration_prober.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "cli/generation.h"
#include "common/status.h"
#include "coordinator/calibration/projections_file.h"

namespace headlong {
namespace {

constexpr uint32_t kSequencesOfASet = 1000;

// Not 0, which is no number.
uint32_t NumberOf(int set, size_t sequence) {
  return static_cast<uint32_t>(set + 1) * kSequencesOfASet + static_cast<uint32_t>(sequence);
}

v1::Probe ProbeOf(const MeasuredSequence& sequence) {
  v1::Probe probe;
  probe.mutable_positions()->Add(sequence.positions.begin(), sequence.positions.end());
  return probe;
}

// Adds a symmetric matrix, of which the wire has the lower triangle by rows.
absl::Status AddTriangle(const google::protobuf::RepeatedField<float>& triangle, int dims,
                         std::vector<double>& matrix) {
  if (triangle.size() != dims * (dims + 1) / 2) {
    return absl::InternalError("spectra of another head_dim");
  }
  matrix.resize(static_cast<size_t>(dims) * static_cast<size_t>(dims), 0.0);
  int at = 0;
  for (int i = 0; i < dims; ++i) {
    for (int j = 0; j <= i; ++j, ++at) {
      matrix[static_cast<size_t>(i * dims + j)] += triangle[at];
      if (i != j) matrix[static_cast<size_t>(j * dims + i)] += triangle[at];
    }
  }
  return absl::OkStatus();
}

absl::Status Incomplete(uint64_t counted, size_t wanted) {
  return absl::UnavailableError(absl::StrCat("the cluster measured ", counted, " rows of ", wanted,
                                             ": a worker was lost meanwhile; run it again"));
}

}  // namespace

absl::Status CalibrationProber::Apply(const Plan& plan) {
  std::string json = plan.ToJson();
  if (json == applied_) return absl::OkStatus();
  v1::ApplyPlanRequest ask;
  ask.set_plan_json(json);
  if (plan.projections() != nullptr) {
    for (const auto& [place, head] : plan.projections()->heads()) {
      AddToWire(place.first, place.second, head, *ask.mutable_projections());
    }
  }
  RETURN_IF_ERROR(client_.ApplyPlan(ask).status());
  applied_ = std::move(json);
  return absl::OkStatus();
}

absl::StatusOr<v1::ProbeResult> CalibrationProber::Run(const std::vector<uint32_t>& ids,
                                                       const v1::Probe& probe) {
  v1::GenerateRequest request;
  request.mutable_token_ids()->mutable_ids()->Add(ids.begin(), ids.end());
  request.set_max_tokens(1);
  request.set_temperature(0);
  *request.mutable_probe() = probe;
  const GenerationResult result = RunGeneration(client_, request, {}, std::chrono::milliseconds(0));
  RETURN_IF_ERROR(result.failure());
  return result.finished->probe();
}

absl::StatusOr<HeadScores> CalibrationProber::Scores(const RepeatParams& params) {
  RETURN_IF_ERROR(Apply(Plan::Full(shape_.layers, shape_.kv_heads)));
  const std::vector<uint32_t> ids = RepeatedIds(params.start, params.ids, params.copies);
  const size_t first = params.start.size() + params.ids.size();
  v1::Probe probe;
  probe.set_period(static_cast<uint32_t>(params.ids.size()));
  probe.set_first_row(static_cast<uint32_t>(first));
  ASSIGN_OR_RETURN(const v1::ProbeResult result, Run(ids, probe));
  if (result.scored_rows() != ids.size() - first) {
    return Incomplete(result.scored_rows(), ids.size() - first);
  }
  HeadScores scores;
  scores.layers = shape_.layers;
  scores.kv_heads = shape_.kv_heads;
  scores.echo.assign(static_cast<size_t>(shape_.layers) * shape_.kv_heads, 0);
  scores.induction = scores.echo;
  for (const v1::HeadAttention& head : result.heads()) {
    const size_t at = head.layer() * static_cast<size_t>(shape_.kv_heads) +
                      head.query_head() / static_cast<uint32_t>(group_);
    if (at >= scores.echo.size()) return absl::InternalError("scores of a head that is not there");
    const double rows = static_cast<double>(result.scored_rows());
    scores.echo[at] = std::max(scores.echo[at], head.echo() / rows);
    scores.induction[at] = std::max(scores.induction[at], head.induction() / rows);
  }
  return scores;
}

absl::Status CalibrationProber::AddNeedleScores(const std::vector<CopyingPrompt>& prompts,
                                                HeadScores& scores) {
  RETURN_IF_ERROR(Apply(Plan::Full(shape_.layers, shape_.kv_heads)));
  const auto heads = static_cast<size_t>(shape_.layers) * static_cast<size_t>(shape_.kv_heads);
  std::vector<uint32_t> copied(heads * static_cast<size_t>(group_), 0);  // by query head
  std::vector<double> cosines(static_cast<size_t>(shape_.layers), 0);
  double rows = 0, tokens = 0;
  for (const CopyingPrompt& prompt : prompts) {
    v1::Probe probe;
    probe.set_similarity(true);
    for (const CopiedToken& copy : prompt.copies) {
      probe.add_copying_rows(static_cast<uint32_t>(copy.row));
      probe.add_copied_positions(static_cast<uint32_t>(copy.position));
    }
    ASSIGN_OR_RETURN(const v1::ProbeResult result, Run(prompt.ids, probe));
    if (result.similarities_size() != shape_.layers ||
        static_cast<size_t>(result.heads_size()) != copied.size()) {
      return Incomplete(static_cast<uint64_t>(result.heads_size()), copied.size());
    }
    for (const v1::HeadAttention& head : result.heads()) {
      const size_t at = head.layer() * copied.size() / cosines.size() + head.query_head();
      if (at >= copied.size()) return absl::InternalError("scores of a head that is not there");
      copied[at] += head.copied();
    }
    for (size_t layer = 0; layer < cosines.size(); ++layer) {
      cosines[layer] += result.similarities(static_cast<int>(layer));
    }
    rows += prompt.rows;
    tokens += static_cast<double>(prompt.ids.size());
  }
  scores.needle.assign(heads, 0);
  for (size_t i = 0; i < copied.size(); ++i) {
    double& score = scores.needle[i / static_cast<size_t>(group_)];
    score = std::max(score, copied[i] / std::max(rows, 1.0));
  }
  for (double& cosine : cosines) cosine /= std::max(tokens, 1.0);
  scores.similarity = std::move(cosines);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<HeadSpectra>> CalibrationProber::Spectra(
    const std::vector<MeasuredSequence>& sequences, int head_dim) {
  RETURN_IF_ERROR(Apply(Plan::Full(shape_.layers, shape_.kv_heads)));
  std::vector<HeadSpectra> spectra(static_cast<size_t>(shape_.layers) *
                                   static_cast<size_t>(shape_.kv_heads));
  for (const MeasuredSequence& sequence : sequences) {
    v1::Probe probe;
    probe.set_spectra(true);
    ASSIGN_OR_RETURN(const v1::ProbeResult result, Run(sequence.ids, probe));
    if (result.spectra().size() != std::ssize(spectra)) {
      return Incomplete(static_cast<uint64_t>(result.spectra().size()), spectra.size());
    }
    for (const v1::HeadSpectra& from : result.spectra()) {
      const size_t at = from.layer() * static_cast<size_t>(shape_.kv_heads) + from.head();
      if (at >= spectra.size()) return absl::InternalError("spectra of a head that is not there");
      RETURN_IF_ERROR(AddTriangle(from.queries(), head_dim, spectra[at].queries));
      RETURN_IF_ERROR(AddTriangle(from.keys(), head_dim, spectra[at].keys));
      RETURN_IF_ERROR(AddTriangle(from.values(), head_dim, spectra[at].values));
    }
  }
  return spectra;
}

absl::Status CalibrationProber::Keep(int set, const std::vector<MeasuredSequence>& sequences) {
  RETURN_IF_ERROR(Apply(Plan::Full(shape_.layers, shape_.kv_heads)));
  for (size_t i = 0; i < sequences.size(); ++i) {
    v1::Probe probe = ProbeOf(sequences[i]);
    probe.set_keep_as(NumberOf(set, i));
    ASSIGN_OR_RETURN(const v1::ProbeResult result, Run(sequences[i].ids, probe));
    if (result.rows() != sequences[i].positions.size()) {
      return Incomplete(result.rows(), sequences[i].positions.size());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<double> CalibrationProber::Measure(int set,
                                                  const std::vector<MeasuredSequence>& sequences,
                                                  const Plan& plan) {
  RETURN_IF_ERROR(Apply(plan));
  double sum = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    v1::Probe probe = ProbeOf(sequences[i]);
    probe.set_compare_with(NumberOf(set, i));
    ASSIGN_OR_RETURN(const v1::ProbeResult result, Run(sequences[i].ids, probe));
    if (result.rows() != sequences[i].positions.size()) {
      return Incomplete(result.rows(), sequences[i].positions.size());
    }
    sum += result.kl() / static_cast<double>(result.rows());
  }
  return sum / static_cast<double>(sequences.size());
}

}  // namespace headlong
