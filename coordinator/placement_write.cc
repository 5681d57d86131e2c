#include "coordinator/placement_write.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "cache/lane_class.h"
#include "coordinator/placement_shares.h"

namespace headlong {
namespace {

class Writer {
 public:
  Writer(const PlacementModel& model, const Solution& solution)
      : model_(model), problem_(model.problem()), solution_(solution), lanes_(model.workers()) {}

  v1::Placement Write() {
    CollectLanes();
    v1::Placement placement;
    for (int i = 0; i < model_.workers(); ++i) WriteWorker(i, *placement.add_workers());
    WriteRanges(placement);
    const double sequences = SequencesHeld();
    for (int i = 0; i < model_.workers(); ++i) {
      WritePages(i, sequences, *placement.mutable_workers(i));
    }
    return placement;
  }

 private:
  void CollectLanes() {
    const Plan& plan = *problem_.plan;
    for (int layer = 0; layer < model_.layers(); ++layer) {
      std::vector<std::vector<int>> heads(model_.kinds().size());  // by kind: slot -> head
      for (int head = 0; head < plan.kv_heads(); ++head) {
        for (size_t kind = 0; kind < heads.size(); ++kind) {
          if (model_.kinds()[kind].policy == plan.policy_index(layer, head)) {
            heads[kind].push_back(head);
          }
        }
      }
      for (const HeadPart& part : solution_.layers[layer]) {
        lanes_[part.worker].push_back({{layer, heads[part.kind][part.slot]}, part.stripes});
      }
    }
    for (auto& lanes : lanes_) std::sort(lanes.begin(), lanes.end());
  }

  void WriteWorker(int i, v1::WorkerShare& share) const {
    const ModelConfig& config = *problem_.config;
    share.set_worker_id(problem_.workers[i].id);
    share.set_device(problem_.workers[i].device);
    share.set_memory_bytes(problem_.workers[i].memory_bytes);
    share.set_scratch_bytes(
        ScratchBytes(problem_, config.kv_heads, config.intermediate_size, config.vocab_size));
    const FluidShares& fluid = solution_.fluid;
    share.set_weights_bytes(NormBytes(problem_) + HeadsWeightBytes(problem_, lanes_[i]) +
                            fluid.columns[i] * model_.columns().unit_bytes +
                            fluid.rows[i] * model_.rows().unit_bytes);
    for (const HeldLane& lane : lanes_[i]) {
      const HeadPolicy& policy = problem_.plan->policy(lane.id.layer, lane.id.head);
      for (int stripe = 0; stripe < lane.stripes.count; ++stripe) {
        v1::HeadShare& head = *share.add_heads();
        head.set_layer(lane.id.layer);
        head.set_head(lane.id.head);
        head.set_policy(policy.name);
        head.set_retrieval(policy.full());
        head.set_stripe_index(lane.stripes.begin + stripe);
        head.set_stripe_count(lane.stripes.of);
      }
    }
  }

  // Ranges follow each other in the order of ranks.
  void WriteRanges(v1::Placement& placement) const {
    const auto write = [](int64_t& next, int64_t size, v1::Range& range) {
      range.set_begin(static_cast<uint32_t>(next));
      range.set_end(static_cast<uint32_t>(next += size));
    };
    for (const auto& units : SpreadOverLayers(solution_.fluid.columns, model_.layers())) {
      int64_t column = 0;
      for (int i = 0; i < model_.workers(); ++i) {
        write(column, units[i] * model_.column_unit(),
              *placement.mutable_workers(i)->add_mlp_columns());
      }
    }
    int64_t row = 0;
    for (int i = 0; i < model_.workers(); ++i) {
      write(row, solution_.fluid.rows[i], *placement.mutable_workers(i)->mutable_vocab_rows());
    }
  }

  int64_t PagesOfOne(const LaneClass& lanes) const {
    return PagesReserved(lanes.rule(*problem_.plan, problem_.max_context), problem_.max_context);
  }

  int64_t BytesOfPage(const LaneClass& lanes) const {
    return PageBytes(*problem_.plan, lanes, problem_.config->head_dim,
                     problem_.cache_element_bytes);
  }

  // The worker whose memory is full first decides.
  double SequencesHeld() const {
    double sequences = problem_.max_sequences;
    for (int i = 0; i < model_.workers(); ++i) {
      double room = static_cast<double>(model_.room()[i] -
                                        solution_.fluid.columns[i] * model_.columns().unit_bytes -
                                        solution_.fluid.rows[i] * model_.rows().unit_bytes -
                                        HeadsWeightBytes(problem_, lanes_[i]));
      double per_sequence = 0;
      for (const LaneClass& lanes : BuildLaneClasses(*problem_.plan, lanes_[i])) {
        if (problem_.plan->policies()[lanes.policy].full()) {
          per_sequence += static_cast<double>(PagesOfOne(lanes) * BytesOfPage(lanes));
          room -= static_cast<double>(lanes.lanes.size()) *
                  static_cast<double>(LaneSlotsBytes(problem_, lanes.policy));
        } else {
          room -= static_cast<double>(lanes.lanes.size()) *
                  static_cast<double>(
                      LaneReservedBytes(problem_, lanes.policy, problem_.max_sequences));
        }
      }
      if (per_sequence > 0) sequences = std::min(sequences, room / per_sequence);
    }
    return std::max(sequences, model_.sequences());
  }

  void WritePages(int i, double sequences, v1::WorkerShare& share) const {
    int64_t cache_bytes = 0;
    for (const LaneClass& lanes : BuildLaneClasses(*problem_.plan, lanes_[i])) {
      const bool full = problem_.plan->policies()[lanes.policy].full();
      const double held = full ? sequences : problem_.max_sequences;
      const auto pages =
          static_cast<int64_t>(std::floor(static_cast<double>(PagesOfOne(lanes)) * held + 1e-9));
      share.add_class_pages(static_cast<uint32_t>(pages));
      cache_bytes +=
          pages * BytesOfPage(lanes) +
          problem_.max_sequences * SlotBytes(*problem_.plan, lanes, problem_.config->head_dim,
                                             problem_.cache_element_bytes);
    }
    share.set_cache_bytes(cache_bytes);
  }

  const PlacementModel& model_;
  const PlacementProblem& problem_;
  const Solution& solution_;
  std::vector<std::vector<HeldLane>> lanes_;  // by worker, ascending
};

}  // namespace

v1::Placement WritePlacement(const PlacementModel& model, const Solution& solution) {
  return Writer(model, solution).Write();
}

}  // namespace headlong
