#include "coordinator/placement_report.h"

#include <algorithm>
#include <cstdlib>
#include <set>

#include "cache/lane_class.h"
#include "coordinator/held_lanes.h"
#include "coordinator/placement_bound.h"
#include "coordinator/placement_model.h"

namespace headlong {
namespace {

int KindOf(const PlacementModel& model, const LaneId& id) {
  const int policy = model.problem().plan->policy_index(id.layer, id.head);
  for (size_t kind = 0; kind < model.kinds().size(); ++kind) {
    if (model.kinds()[kind].policy == policy) return static_cast<int>(kind);
  }
  std::abort();
}

double Columns(const v1::Range& range) { return static_cast<double>(range.end() - range.begin()); }

// The most sequences of max_context that the pages of a share hold.
double SequencesHeld(const PlacementProblem& problem, const v1::WorkerShare& share,
                     const std::vector<HeldLane>& lanes) {
  double held = problem.max_sequences;
  const std::vector<LaneClass> classes = BuildLaneClasses(*problem.plan, lanes);
  for (size_t i = 0; i < classes.size(); ++i) {
    const LaneRule rule = classes[i].rule(*problem.plan, problem.max_context);
    held = std::min(held, static_cast<double>(share.class_pages(static_cast<int>(i))) /
                              static_cast<double>(PagesReserved(rule, problem.max_context)));
  }
  return held;
}

}  // namespace

double StepMillis(const v1::PlacementReport& report) {
  return report.attention_ms() + report.exchange_ms() + report.mlp_ms() + report.vocabulary_ms() +
         report.sums_ms() + report.fixed_ms();
}

v1::PlacementReport ReportOf(const PlacementProblem& problem, const v1::Placement& placement) {
  const PlacementModel model(problem, problem.required_sequences);
  const int layers = problem.config->layers;
  const auto column_bytes = static_cast<double>(model.columns().unit_read) / model.column_unit();
  v1::PlacementReport report;
  double sequences = problem.max_sequences;
  double vocabulary = 0;
  std::vector<double> attention(layers, 0);
  std::vector<double> mlp(layers, 0);
  std::vector<std::set<int>> split(layers);
  for (int i = 0; i < placement.workers_size(); ++i) {
    const v1::WorkerShare& share = placement.workers(i);
    v1::WorkerTimes& times = *report.add_workers();
    const std::vector<HeldLane> lanes = HeldLanesOf(share);
    std::vector<double> seconds(layers, 0);
    for (const HeldLane& lane : lanes) {
      seconds[lane.id.layer] += model.PartSeconds(i, KindOf(model, lane.id), lane.stripes);
      if (!lane.stripes.whole()) split[lane.id.layer].insert(lane.id.head);
    }
    for (int layer = 0; layer < layers; ++layer) {
      const double columns =
          model.FluidSeconds(i, Columns(share.mlp_columns(layer)) * column_bytes);
      attention[layer] = std::max(attention[layer], seconds[layer]);
      mlp[layer] = std::max(mlp[layer], columns);
      times.add_attention_ms(seconds[layer] * 1e3);
      times.add_mlp_ms(columns * 1e3);
    }
    const double rows = model.FluidSeconds(
        i, Columns(share.vocab_rows()) * static_cast<double>(model.rows().unit_read));
    times.set_vocabulary_ms(rows * 1e3);
    vocabulary = std::max(vocabulary, rows);
    sequences = std::min(sequences, SequencesHeld(problem, share, lanes));
  }
  for (int layer = 0; layer < layers; ++layer) {
    report.set_attention_ms(report.attention_ms() + attention[layer] * 1e3);
    report.set_mlp_ms(report.mlp_ms() + mlp[layer] * 1e3);
    const int heads = static_cast<int>(split[layer].size());
    report.set_exchange_ms(report.exchange_ms() + model.ExchangeSeconds(heads) * 1e3);
    report.set_striped_heads(report.striped_heads() + heads);
  }
  report.set_vocabulary_ms(vocabulary * 1e3);
  report.set_sums_ms(model.SumsSeconds() * 1e3);
  report.set_fixed_ms(model.FixedSeconds() * 1e3);
  report.set_context(problem.workload.context > 0 ? problem.workload.context : problem.max_context);
  report.set_concurrency(model.concurrency());
  report.set_prefill_share(problem.workload.prefill_share);
  report.set_sequences(sequences);
  report.set_max_context(problem.max_context);
  report.set_required_sequences(problem.required_sequences);
  return report;
}

v1::PlacementReport FullReport(const PlacementProblem& problem, const v1::Placement& placement) {
  v1::PlacementReport report = ReportOf(problem, placement);
  report.set_largest_context(LargestContext(problem));
  report.set_largest_concurrency(LargestConcurrency(problem));
  return report;
}

v1::PlacementReport Recount(const PlacementProblem& problem, v1::Placement& placement) {
  v1::PlacementReport report = FullReport(problem, placement);
  const PlacementModel model(problem, problem.required_sequences);
  const double step_ms = StepMillis(report);
  const double bound_ms = std::min(LowerBoundSeconds(model, problem.stripes) * 1e3, step_ms);
  placement.set_step_ms(step_ms);
  placement.set_lower_bound_ms(bound_ms);
  placement.set_gap(step_ms / bound_ms - 1);
  return report;
}

}  // namespace headlong
