#include "coordinator/placement.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "cache/lane_class.h"
#include "common/status.h"
#include "coordinator/placement_shares.h"

namespace headlong {
namespace {

struct HeadChoice {
  LaneId lane;
  int policy = 0;
};

// One placement in the making.
class Placer {
 public:
  explicit Placer(const PlacementProblem& problem)
      : problem_(problem),
        config_(*problem.config),
        plan_(*problem.plan),
        speeds_(LevelledSpeeds(problem.workers)),
        free_(problem.workers.size()),
        heads_(problem.workers.size()),
        layer_bytes_(problem.workers.size(), std::vector<int64_t>(config_.layers, 0)) {}

  absl::StatusOr<v1::Placement> Run() {
    // Scratch is counted as if a worker held everything of a layer: it is small, and what a worker
    // will hold is not known yet.
    scratch_ =
        ScratchBytes(problem_, config_.kv_heads, config_.intermediate_size, config_.vocab_size);
    const int64_t everywhere = scratch_ + NormBytes(problem_);
    for (int i = 0; i < workers(); ++i) free_[i] = problem_.workers[i].memory_bytes - everywhere;
    for (int i = 0; i < workers(); ++i) {
      if (free_[i] < 0) {
        return TooSmall(absl::StrCat("scratch of ", problem_.workers[i].id), everywhere);
      }
    }
    // Retrieval heads first: they are the ones for which memory decides.
    for (const bool full : {true, false}) {
      for (int layer = 0; layer < config_.layers; ++layer) {
        for (int head = 0; head < config_.kv_heads; ++head) {
          if (plan_.policy(layer, head).full() != full) continue;
          RETURN_IF_ERROR(PlaceHead({{layer, head}, plan_.policy_index(layer, head)}, full));
        }
      }
    }
    ASSIGN_OR_RETURN(columns_, Divide(config_.intermediate_size,
                                      ColumnWeightBytes(problem_) * config_.layers, "MLP columns"));
    ASSIGN_OR_RETURN(rows_, Divide(config_.vocab_size, VocabRowBytes(problem_), "vocabulary rows"));
    return Write();
  }

 private:
  int workers() const { return static_cast<int>(free_.size()); }

  // What must fit: a retrieval head needs room for one sequence, a local head for all of them.
  int64_t Needed(const HeadChoice& choice, bool full) const {
    return HeadWeightBytes(problem_) +
           LaneReservedBytes(problem_, choice.policy, full ? 1 : problem_.max_sequences);
  }

  absl::Status PlaceHead(const HeadChoice& choice, bool full) {
    const int64_t needed = Needed(choice, full);
    std::optional<int> best;
    for (int i = 0; i < workers(); ++i) {
      if (free_[i] < needed) continue;
      if (!best || (full ? MoreRoom(i, *best) : LessTime(i, *best, choice.lane.layer))) best = i;
    }
    if (!best) {
      return TooSmall(absl::StrCat("layer ", choice.lane.layer, " head ", choice.lane.head),
                      needed);
    }
    free_[*best] -= needed;
    heads_[*best].push_back(choice);
    layer_bytes_[*best][choice.lane.layer] +=
        HeadWeightBytes(problem_) + LaneReadBytes(problem_, choice.policy);
    return absl::OkStatus();
  }

  bool MoreRoom(int a, int b) const { return free_[a] > free_[b]; }

  bool LessTime(int a, int b, int layer) const {
    const double time_a = static_cast<double>(layer_bytes_[a][layer]) / speeds_[a];
    const double time_b = static_cast<double>(layer_bytes_[b][layer]) / speeds_[b];
    if (time_a != time_b) return time_a < time_b;
    return heads_[a].size() < heads_[b].size();
  }

  absl::StatusOr<std::vector<int64_t>> Divide(int64_t total, int64_t unit_bytes,
                                              const std::string& what) {
    std::vector<int64_t> caps;
    for (int64_t bytes : free_) caps.push_back(std::max<int64_t>(bytes, 0) / unit_bytes);
    std::vector<int64_t> shares = Apportion(total, speeds_, caps);
    if (shares.empty()) return TooSmall(absl::StrCat(total, " ", what), total * unit_bytes);
    for (int i = 0; i < workers(); ++i) free_[i] -= shares[i] * unit_bytes;
    return shares;
  }

  absl::Status TooSmall(const std::string& what, int64_t needed) const {
    std::string room;
    for (int i = 0; i < workers(); ++i) {
      const PlacementWorker& worker = problem_.workers[i];
      absl::StrAppend(&room, i == 0 ? "" : ", ", worker.id, " has ", std::max<int64_t>(free_[i], 0),
                      " of ", worker.memory_bytes, " left");
    }
    return absl::ResourceExhaustedError(absl::StrCat(
        "the workers cannot hold the model at a context of ", problem_.max_context, " with ",
        problem_.max_sequences, " sequences: ", what, " would need ", needed, " bytes; ", room));
  }

  v1::Placement Write() {
    v1::Placement placement;
    int64_t column = 0;
    int64_t row = 0;
    for (int i = 0; i < workers(); ++i) {
      v1::WorkerShare& share = *placement.add_workers();
      share.set_worker_id(problem_.workers[i].id);
      share.set_device(problem_.workers[i].device);
      share.set_memory_bytes(problem_.workers[i].memory_bytes);
      share.set_scratch_bytes(scratch_);
      for (int layer = 0; layer < config_.layers; ++layer) {
        v1::Range& columns = *share.add_mlp_columns();
        columns.set_begin(static_cast<uint32_t>(column));
        columns.set_end(static_cast<uint32_t>(column + columns_[i]));
      }
      column += columns_[i];
      share.mutable_vocab_rows()->set_begin(static_cast<uint32_t>(row));
      row += rows_[i];
      share.mutable_vocab_rows()->set_end(static_cast<uint32_t>(row));
      share.set_weights_bytes(WeightBytes(i));
      WriteHeads(i, share);
    }
    WriteTimes(placement);
    return placement;
  }

  int64_t WeightBytes(int worker) const {
    return NormBytes(problem_) +
           static_cast<int64_t>(heads_[worker].size()) * HeadWeightBytes(problem_) +
           columns_[worker] * ColumnWeightBytes(problem_) * config_.layers +
           rows_[worker] * VocabRowBytes(problem_);
  }

  // Heads and the pages of their classes. What is left of the memory becomes pages of retrieval
  // classes, up to what max_sequences of max_context need.
  void WriteHeads(int worker, v1::WorkerShare& share) {
    std::sort(heads_[worker].begin(), heads_[worker].end(),
              [](const HeadChoice& a, const HeadChoice& b) { return a.lane < b.lane; });
    std::vector<LaneId> lanes;
    int64_t wanted = 0;  // bytes of retrieval pages beyond the one sequence counted already
    for (const HeadChoice& choice : heads_[worker]) {
      const HeadPolicy& policy = plan_.policies()[choice.policy];
      v1::HeadShare& head = *share.add_heads();
      head.set_layer(choice.lane.layer);
      head.set_head(choice.lane.head);
      head.set_policy(policy.name);
      head.set_retrieval(policy.full());
      head.set_stripe_count(1);
      lanes.push_back(choice.lane);
      if (policy.full()) {
        wanted += LaneReservedBytes(problem_, choice.policy, problem_.max_sequences - 1);
      }
    }
    const double granted =
        wanted == 0 ? 1.0
                    : std::clamp(static_cast<double>(free_[worker]) / static_cast<double>(wanted),
                                 0.0, 1.0);
    int64_t cache_bytes = 0;
    for (const LaneClass& lane_class : BuildLaneClasses(plan_, lanes)) {
      const LaneRule rule = plan_.rule(lane_class.policy, problem_.max_context);
      const int64_t one = PagesReserved(rule, problem_.max_context);
      const double extra = rule.full ? granted : 1.0;
      const int64_t pages =
          one +
          static_cast<int64_t>(static_cast<double>(one * (problem_.max_sequences - 1)) * extra);
      share.add_class_pages(static_cast<uint32_t>(pages));
      cache_bytes +=
          pages * PageBytes(plan_, lane_class, config_.head_dim, problem_.cache_element_bytes) +
          problem_.max_sequences * SumBytes(plan_, lane_class, config_.head_dim);
    }
    share.set_cache_bytes(cache_bytes);
  }

  // A decode step of one sequence at max_context: bytes over bandwidth, a layer waits for its
  // slowest worker. The bound is that of a perfect split.
  void WriteTimes(v1::Placement& placement) const {
    double step = 0;
    double bytes = 0;
    double speed = 0;
    for (double each : speeds_) speed += each;
    for (int layer = 0; layer < config_.layers; ++layer) {
      double slowest_attention = 0;
      double slowest_mlp = 0;
      for (int i = 0; i < workers(); ++i) {
        const double attention = static_cast<double>(layer_bytes_[i][layer]);
        const double mlp = static_cast<double>(columns_[i] * ColumnWeightBytes(problem_));
        slowest_attention = std::max(slowest_attention, attention / speeds_[i]);
        slowest_mlp = std::max(slowest_mlp, mlp / speeds_[i]);
        bytes += attention + mlp;
      }
      step += slowest_attention + slowest_mlp;
    }
    double slowest_vocab = 0;
    const int64_t output_row = int64_t{config_.hidden_size} * problem_.weight_element_bytes;
    for (int i = 0; i < workers(); ++i) {
      const double vocab = static_cast<double>(rows_[i] * output_row);
      slowest_vocab = std::max(slowest_vocab, vocab / speeds_[i]);
      bytes += vocab;
    }
    step += slowest_vocab;
    const double bound = std::min(bytes / speed, step);  // the two sums round differently
    placement.set_step_ms(step * 1e3);
    placement.set_lower_bound_ms(bound * 1e3);
    placement.set_gap(step / bound - 1);
  }

  const PlacementProblem& problem_;
  const ModelConfig& config_;
  const Plan& plan_;
  const std::vector<double> speeds_;
  std::vector<int64_t> free_;
  std::vector<std::vector<HeadChoice>> heads_;     // by worker
  std::vector<std::vector<int64_t>> layer_bytes_;  // [worker][layer] attention bytes of a step
  std::vector<int64_t> columns_;
  std::vector<int64_t> rows_;
  int64_t scratch_ = 0;
};

// The largest context below the problem's that can be placed, by bisection; 0 when none can.
int64_t LargestContext(PlacementProblem problem) {
  int64_t fits = 0;
  int64_t too_large = problem.max_context;
  while (too_large - fits > 1) {
    problem.max_context = fits + (too_large - fits) / 2;
    (Placer(problem).Run().ok() ? fits : too_large) = problem.max_context;
  }
  return fits;
}

}  // namespace

int64_t ScratchBytes(const PlacementProblem& problem, int heads, int columns, int vocab_rows) {
  const ModelConfig& config = *problem.config;
  const int64_t head_columns = int64_t{heads} * (2 * config.group() + 2) * config.head_dim;
  const int64_t per_row = 4 * int64_t{config.hidden_size} + head_columns + 3 * int64_t{columns};
  const int64_t new_rows = int64_t{2} * heads * config.head_dim * problem.cache_element_bytes;
  // Logits of sampled rows: at most one per sequence.
  int64_t bytes =
      problem.max_batch_tokens * (per_row * 4 + new_rows) +
      int64_t{vocab_rows} * 4 * std::min(problem.max_sequences, problem.max_batch_tokens);
  if (problem.plan->prefill() == PrefillMode::kExact) {
    // One layer's local heads in full, and the residual stream between layers.
    bytes += problem.max_context * (new_rows + int64_t{config.hidden_size} * 4);
  }
  return bytes;
}

absl::StatusOr<v1::Placement> Place(const PlacementProblem& problem) {
  if (problem.workers.empty()) return absl::FailedPreconditionError("no workers to place on");
  absl::StatusOr<v1::Placement> placement = Placer(problem).Run();
  if (placement.ok()) return placement;
  const int64_t context = LargestContext(problem);
  const std::string advice = context > 1
                                 ? absl::StrCat("A context of ", context, " fits (--max-context)")
                                 : std::string("No context fits");
  return absl::ResourceExhaustedError(
      absl::StrCat(placement.status().message(), ". ", advice,
                   "; else give workers more memory, add workers, or lower --max-sequences"));
}

}  // namespace headlong
