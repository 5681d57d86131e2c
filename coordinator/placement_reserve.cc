#include "coordinator/placement_reserve.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "cache/lane_class.h"
#include "common/status.h"
#include "coordinator/held_lanes.h"
#include "coordinator/placement_bound.h"
#include "coordinator/placement_model.h"
#include "coordinator/placement_report.h"
#include "coordinator/placement_shares.h"

namespace headlong {
namespace {

struct HeldHeads {
  std::vector<HeldLane> lanes;
  std::vector<LaneClass> classes;
  int most = 0;  // of a layer
  bool splits = false;
};

HeldHeads HeadsOf(const PlacementProblem& problem, const v1::WorkerShare& share) {
  HeldHeads held;
  held.lanes = HeldLanesOf(share);
  held.classes = BuildLaneClasses(*problem.plan, held.lanes);
  std::vector<int> count(problem.config->layers, 0);
  for (const HeldLane& lane : held.lanes) {
    held.most = std::max(held.most, ++count[lane.id.layer]);
    held.splits |= !lane.stripes.whole();
  }
  return held;
}

// Workers of `given` in the order of the problem's.
absl::StatusOr<v1::Placement> InOrder(const PlacementProblem& problem, const v1::Placement& given) {
  for (const v1::WorkerShare& share : given.workers()) {
    if (std::none_of(
            problem.workers.begin(), problem.workers.end(),
            [&](const PlacementWorker& worker) { return share.worker_id() == worker.id; })) {
      return absl::InvalidArgumentError(
          absl::StrCat("the placement names worker ", share.worker_id(), ", which is not here"));
    }
  }
  v1::Placement placement;
  uint32_t rows = 0;
  for (const PlacementWorker& worker : problem.workers) {
    const auto it =
        std::find_if(given.workers().begin(), given.workers().end(),
                     [&](const v1::WorkerShare& share) { return share.worker_id() == worker.id; });
    if (it == given.workers().end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the placement does not say what worker ", worker.id, " holds"));
    }
    v1::WorkerShare& share = *placement.add_workers();
    share = *it;
    share.set_device(worker.device);
    share.set_memory_bytes(worker.memory_bytes);
    const v1::Range& range = share.vocab_rows();
    if (range.begin() == range.end()) continue;
    if (range.begin() != rows) {
      return absl::InvalidArgumentError(
          absl::StrCat("the placement's vocabulary rows of worker ", worker.id, " begin at ",
                       range.begin(), " where those of the workers before it end at ", rows));
    }
    rows = range.end();
  }
  return placement;
}

int PartsOf(const std::vector<HeldHeads>& held, int layers) {
  std::vector<int> parts(layers, 0);
  for (const HeldHeads& heads : held) {
    for (const HeldLane& lane : heads.lanes) parts[lane.id.layer] += !lane.stripes.whole();
  }
  return parts.empty() ? 0 : *std::max_element(parts.begin(), parts.end());
}

void SetFixedBytes(const PlacementProblem& problem, const HeldHeads& held, int parts,
                   v1::WorkerShare& share) {
  int64_t columns = 0;
  int most_columns = 0;
  for (const v1::Range& range : share.mlp_columns()) {
    columns += range.end() - range.begin();
    most_columns = std::max(most_columns, static_cast<int>(range.end() - range.begin()));
  }
  const auto rows = static_cast<int>(share.vocab_rows().end() - share.vocab_rows().begin());
  share.set_weights_bytes(NormBytes(problem) + HeadsWeightBytes(problem, held.lanes) +
                          columns * ColumnWeightBytes(problem) + rows * VocabRowBytes(problem));
  PlacementProblem whole = problem;  // what is exchanged is known here
  whole.stripes = false;
  share.set_scratch_bytes(ScratchBytes(whole, held.most, most_columns, rows) +
                          ExchangeBytes(problem, parts, held.splits ? held.most : 0));
}

// Local lanes get room for every sequence, retrieval lanes for one, and more by what is left.
absl::Status SetPages(const PlacementProblem& problem, const HeldHeads& held,
                      v1::WorkerShare& share) {
  const Plan& plan = *problem.plan;
  const auto page_bytes = [&](const LaneClass& each) {
    return PageBytes(plan, each, problem.config->head_dim, problem.cache_element_bytes);
  };
  int64_t needed = 0;
  int64_t wanted = 0;  // beyond what is needed
  for (const LaneClass& each : held.classes) {
    const LaneRule rule = each.rule(plan, problem.max_context);
    const int64_t one = PagesReserved(rule, problem.max_context) * page_bytes(each);
    needed += one * (rule.full ? 1 : problem.max_sequences) +
              problem.max_sequences *
                  SlotBytes(plan, each, problem.config->head_dim, problem.cache_element_bytes);
    if (rule.full) wanted += one * (problem.max_sequences - 1);
  }
  const int64_t fixed = static_cast<int64_t>(share.weights_bytes() + share.scratch_bytes());
  const int64_t left = static_cast<int64_t>(share.memory_bytes()) - fixed - needed;
  if (left < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the placement does not fit worker ", share.worker_id(), ": weights of ",
                     share.weights_bytes(), ", scratch of ", share.scratch_bytes(),
                     " and caches of ", needed, " bytes, at a context of ", problem.max_context,
                     ", are more than its ", share.memory_bytes()));
  }
  const double granted =
      wanted == 0 ? 1.0 : std::min(1.0, static_cast<double>(left) / static_cast<double>(wanted));
  int64_t cache_bytes = 0;
  for (const LaneClass& each : held.classes) {
    const LaneRule rule = each.rule(plan, problem.max_context);
    const int64_t one = PagesReserved(rule, problem.max_context);
    const auto more = static_cast<double>(one * (problem.max_sequences - 1));
    const int64_t pages = one + static_cast<int64_t>(more * (rule.full ? granted : 1.0));
    share.add_class_pages(static_cast<uint32_t>(pages));
    cache_bytes += pages * page_bytes(each) +
                   problem.max_sequences *
                       SlotBytes(plan, each, problem.config->head_dim, problem.cache_element_bytes);
  }
  share.set_cache_bytes(cache_bytes);
  return absl::OkStatus();
}

void SetTimes(const PlacementProblem& problem, v1::Placement& placement) {
  const double step = StepMillis(ReportOf(problem, placement));
  const PlacementModel model(problem, problem.required_sequences);
  const double bound = std::min(step, LowerBoundSeconds(model, problem.stripes) * 1e3);
  placement.set_step_ms(step);
  placement.set_lower_bound_ms(bound);
  placement.set_gap(step / bound - 1);
}

}  // namespace

absl::StatusOr<v1::Placement> Reserve(const PlacementProblem& problem, const v1::Placement& given) {
  ASSIGN_OR_RETURN(v1::Placement placement, InOrder(problem, given));
  std::vector<HeldHeads> held;
  for (const v1::WorkerShare& share : placement.workers()) held.push_back(HeadsOf(problem, share));
  const int parts = PartsOf(held, problem.config->layers);
  for (size_t i = 0; i < held.size(); ++i) {
    v1::WorkerShare& share = *placement.mutable_workers(static_cast<int>(i));
    SetFixedBytes(problem, held[i], parts, share);
    RETURN_IF_ERROR(SetPages(problem, held[i], share));
  }
  SetTimes(problem, placement);
  return placement;
}

}  // namespace headlong
