#include "coordinator/placement_shares.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace headlong {
namespace {

// Rows that a worker keeps of a head: of queries and keys, of values, and those turned for outputs.
// On GPUs queries and keys have rows of their own.
int64_t ProjectedRows(const HeadPolicy& policy, int head_dim) {
  const bool turned = policy.rotation != Rotation::kNone;
  const int64_t keys = turned ? head_dim : policy.rank.keys;
  const int64_t values = turned ? head_dim : policy.rank.values;
  return 2 * (keys + values);
}

}  // namespace

int64_t HeadWeightBytes(const PlacementProblem& problem, int policy) {
  const ModelConfig& config = *problem.config;
  const int64_t weights = int64_t{2} * (config.group() + 1) * config.head_dim * config.hidden_size *
                          problem.weight_element_bytes;
  const int64_t rows = ProjectedRows(problem.plan->policies()[policy], config.head_dim);
  return weights + rows * config.head_dim * static_cast<int64_t>(sizeof(float));
}

int64_t HeadsWeightBytes(const PlacementProblem& problem, std::span<const HeldLane> lanes) {
  int64_t bytes = 0;
  for (const HeldLane& lane : lanes) {
    bytes += HeadWeightBytes(problem, problem.plan->policy_index(lane.id.layer, lane.id.head));
  }
  return bytes;
}

int64_t ColumnWeightBytes(const PlacementProblem& problem) {
  return int64_t{problem.config->mlp_matrices()} * problem.config->hidden_size *
         problem.weight_element_bytes;
}

int64_t VocabRowBytes(const PlacementProblem& problem) {
  return int64_t{problem.config->hidden_size} *
         (problem.embedding_element_bytes + problem.weight_element_bytes);
}

int64_t NormBytes(const PlacementProblem& problem) {
  return (int64_t{2} * problem.config->layers + 1) * problem.config->hidden_size * 4;
}

int64_t LaneReservedBytes(const PlacementProblem& problem, int policy, int sequences) {
  const Plan& plan = *problem.plan;
  const LaneClass lane{.policy = policy, .stripes = {}, .lanes = {LaneId{}}};
  const int64_t pages = PagesReserved(plan.rule(policy, problem.max_context), problem.max_context);
  return sequences *
         (pages * PageBytes(plan, lane, problem.config->head_dim, problem.cache_element_bytes) +
          SlotBytes(plan, lane, problem.config->head_dim, problem.cache_element_bytes));
}

int64_t LaneSlotsBytes(const PlacementProblem& problem, int policy) {
  return problem.max_sequences * LaneSlotBytes(problem.plan->rule(policy, problem.max_context),
                                               problem.config->head_dim,
                                               problem.cache_element_bytes);
}

int64_t LaneReadBytes(const PlacementProblem& problem, int policy) {
  const int64_t context =
      problem.workload.context > 0 ? problem.workload.context : problem.max_context;
  return LaneBytes(problem.plan->rule(policy, context), context, problem.config->head_dim,
                   problem.cache_element_bytes);
}

std::vector<double> Levelled(const std::vector<double>& measured) {
  constexpr double kAlike = 1.3;
  std::vector<size_t> order(measured.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return measured[a] > measured[b]; });
  std::vector<double> speeds(measured.size(), 1.0);
  double level = 0;
  for (size_t index : order) {
    const double each = std::max(measured[index], 1.0);
    if (level == 0 || each * kAlike < level) level = each;
    speeds[index] = level;
  }
  return speeds;
}

std::vector<double> LevelledSpeeds(const std::vector<PlacementWorker>& workers) {
  std::vector<double> measured;
  for (const PlacementWorker& worker : workers) measured.push_back(worker.read_bytes_per_s);
  return Levelled(measured);
}

std::vector<int64_t> Apportion(int64_t total, const std::vector<double>& weights,
                               const std::vector<int64_t>& caps) {
  std::vector<int64_t> shares(weights.size(), 0);
  int64_t left = total;
  while (left > 0) {
    double open = 0;  // weight of the workers below their cap
    for (size_t i = 0; i < shares.size(); ++i) open += shares[i] < caps[i] ? weights[i] : 0;
    if (open <= 0) return {};
    const int64_t round = left;
    for (size_t i = 0; i < shares.size() && left > 0; ++i) {
      if (shares[i] >= caps[i]) continue;
      const auto fair =
          static_cast<int64_t>(std::ceil(static_cast<double>(round) * weights[i] / open));
      const int64_t take = std::min({fair, caps[i] - shares[i], left});
      shares[i] += take;
      left -= take;
    }
  }
  return shares;
}

}  // namespace headlong
