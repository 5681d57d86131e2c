#include "coordinator/placement.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "cache/widened_rows.h"
#include "common/status.h"
#include "coordinator/placement_bound.h"
#include "coordinator/placement_pack.h"
#include "coordinator/placement_shares.h"
#include "coordinator/placement_solver.h"
#include "coordinator/placement_write.h"

namespace headlong {
namespace {

constexpr double kSlowerForMore = 1.05;  // step time that more sequences may cost
constexpr int kHalvings = 5;
constexpr int64_t kLongestContext = int64_t{1} << 40;

// Every worker holds its scratch and norms, and the heads fit into the rest.
bool Fits(const PlacementProblem& problem, double sequences) {
  const PlacementModel model(problem, sequences);
  return *std::min_element(model.room().begin(), model.room().end()) >= 0 &&
         PackByMemory(model, problem.stripes).has_value();
}

bool Fits(const PlacementProblem& problem) { return Fits(problem, problem.required_sequences); }

// The most sequences that fit, in steps of 1/32 of the range; `least` fits.
double MostSequences(const PlacementProblem& problem, double least, double most) {
  if (Fits(problem, most)) return most;
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (least + most) / 2;
    (Fits(problem, middle) ? least : most) = middle;
  }
  return least;
}

struct Placed {
  v1::Placement placement;
  double seconds = 0;
  double bound = 0;
};

std::optional<Placed> PlaceFor(const PlacementProblem& problem, double sequences) {
  const PlacementModel model(problem, sequences);
  const std::optional<Solution> solution = Solve(model, problem.stripes);
  if (!solution) return std::nullopt;
  Placed placed;
  placed.placement = WritePlacement(model, *solution);
  placed.seconds = solution->seconds;
  placed.bound = std::min(LowerBoundSeconds(model, problem.stripes), solution->seconds);
  return placed;
}

// More sequences ask for other placements: as many as cost at most kSlowerForMore.
std::optional<Placed> PlaceFast(const PlacementProblem& problem) {
  const double least = problem.required_sequences;
  double most = MostSequences(problem, least, std::max<double>(least, problem.max_sequences));
  std::optional<Placed> best = PlaceFor(problem, most);
  const double bound =
      LowerBoundSeconds(PlacementModel(problem, least), problem.stripes) * kSlowerForMore;
  if (most <= least || (best && best->seconds <= bound)) return best;
  std::optional<Placed> fewest = PlaceFor(problem, least);
  if (!fewest) return best;
  if (best && best->seconds <= fewest->seconds * kSlowerForMore) return best;
  const double limit = fewest->seconds * kSlowerForMore;
  best = std::move(fewest);
  double fast = least;
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (fast + most) / 2;
    std::optional<Placed> placed = PlaceFor(problem, middle);
    if (placed && placed->seconds <= limit) {
      fast = middle;
      best = std::move(placed);
    } else {
      most = middle;
    }
  }
  return best;
}

int64_t Sum(const std::vector<int64_t>& bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), int64_t{0});
}

// What is short, by how much, and what every worker has for it.
absl::Status TooSmall(const PlacementProblem& problem) {
  const PlacementModel model(problem, problem.required_sequences);
  std::string room;
  int64_t most = 0;
  std::string too_small;
  for (int i = 0; i < model.workers(); ++i) {
    const PlacementWorker& worker = problem.workers[i];
    absl::StrAppend(&room, i == 0 ? "" : ", ", worker.id, " has ",
                    std::max<int64_t>(model.room()[i], 0), " of ", worker.memory_bytes);
    most = std::max(most, model.room()[i]);
    if (model.room()[i] < 0 && too_small.empty()) {
      too_small = absl::StrCat("scratch of ", worker.id, " would need ",
                               worker.memory_bytes - model.room()[i], " bytes, ", -model.room()[i],
                               " more than its memory");
    }
  }
  std::string what = too_small;
  const int64_t all = Sum(model.room());
  const int64_t needed = model.TotalBytes();
  if (what.empty() && needed > all) {
    what = absl::StrCat("memory: weights and caches would need ", needed, " bytes, ", needed - all,
                        " more than all workers have beside scratch");
  }
  if (what.empty()) {
    int64_t largest = 0;
    for (const HeadKind& kind : model.kinds()) largest = std::max(largest, kind.bytes());
    what = absl::StrCat("room in one piece: heads of up to ", largest,
                        " bytes do not fit beside each other, though all workers together would "
                        "need ",
                        needed, " of ", all, " bytes; the most that one has is ", most);
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("the workers cannot hold the model at a context of ", problem.max_context,
                   " with ", problem.max_sequences, " sequences (room for ",
                   problem.required_sequences, " at least): ", what, "; beside scratch ", room));
}

}  // namespace

int64_t ExchangeBytes(const PlacementProblem& problem, int64_t parts, int64_t heads) {
  const int64_t rows = int64_t{problem.max_batch_tokens} * problem.config->group();
  return (parts + heads) * rows * int64_t{sizeof(float)};
}

namespace {

// Of workers on GPUs, for prompts that attend to codes.
int64_t WideningBytes(const PlacementProblem& problem, int heads) {
  const ModelConfig& config = *problem.config;
  const bool on_gpu = std::ranges::any_of(
      problem.workers, [](const PlacementWorker& worker) { return worker.device == "cuda"; });
  const bool coded = std::ranges::any_of(problem.plan->policies(), [](const HeadPolicy& policy) {
    return policy.storage.coded() && !policy.rank.projected();
  });
  if (!on_gpu || !coded || problem.cache_element_bytes != 2) return 0;
  return WidenedRoom::For(problem.max_context, heads, config.head_dim).bytes;
}

}  // namespace

int64_t ScratchBytes(const PlacementProblem& problem, int heads, int columns, int vocab_rows) {
  const ModelConfig& config = *problem.config;
  const int64_t head_columns = int64_t{heads} * (2 * config.group() + 2) * config.head_dim;
  const int64_t per_row =
      4 * int64_t{config.hidden_size} + head_columns + config.mlp_matrices() * int64_t{columns};
  int64_t token_bytes = 0;
  for (int policy = 0; policy < static_cast<int>(problem.plan->policies().size()); ++policy) {
    const LaneRule rule = problem.plan->rule(policy, problem.max_context);
    token_bytes = std::max(
        token_bytes, rule.format(config.head_dim, problem.cache_element_bytes).new_token_bytes());
  }
  const int64_t new_rows = heads * token_bytes;
  // Logits of sampled rows: at most one per sequence.
  int64_t bytes =
      problem.max_batch_tokens * (per_row * 4 + new_rows) +
      int64_t{vocab_rows} * 4 * std::min(problem.max_sequences, problem.max_batch_tokens);
  // One part more than heads for every worker. Workers of one alone exchange nothing.
  if (problem.stripes && problem.workers.size() > 1) {
    const int64_t parts = heads + static_cast<int64_t>(problem.workers.size());
    bytes += ExchangeBytes(problem, parts, parts);
  }
  if (problem.plan->prefill() == PrefillMode::kExact) {
    // One layer's local heads in full, and the residual stream between layers.
    bytes += problem.max_context * (new_rows + int64_t{config.hidden_size} * 4);
  }
  return bytes + WideningBytes(problem, heads);
}

int64_t LargestContext(const PlacementProblem& given) {
  PlacementProblem problem = given;
  int64_t fits = 0;
  int64_t too_large = problem.max_context;
  problem.max_context = too_large;
  while (too_large < kLongestContext && Fits(problem)) {
    fits = too_large;
    problem.max_context = too_large *= 2;
  }
  while (too_large - fits > 1) {
    problem.max_context = fits + (too_large - fits) / 2;
    (Fits(problem) ? fits : too_large) = problem.max_context;
  }
  return fits;
}

int LargestConcurrency(const PlacementProblem& given) {
  constexpr int kMost = 1 << 16;
  PlacementProblem problem = given;
  const auto holds = [&problem](int sequences) {
    problem.max_sequences = problem.required_sequences = sequences;
    return Fits(problem);
  };
  int fits = 0;
  int too_many = 1;
  while (too_many <= kMost && holds(too_many)) {
    fits = too_many;
    too_many *= 2;
  }
  while (too_many - fits > 1) {
    const int middle = (fits + too_many) / 2;
    (holds(middle) ? fits : too_many) = middle;
  }
  return fits;
}

absl::StatusOr<v1::Placement> Place(const PlacementProblem& problem) {
  if (problem.workers.empty()) return absl::FailedPreconditionError("no workers to place on");
  std::optional<Placed> placed;
  if (Fits(problem)) {
    placed = problem.objective == Objective::kLatency
                 ? PlaceFast(problem)
                 : PlaceFor(problem, MostSequences(problem, problem.required_sequences,
                                                   problem.max_sequences));
  }
  if (!placed) {
    const int64_t context = LargestContext(problem);
    const std::string advice = context > 1
                                   ? absl::StrCat("A context of ", context, " fits (--max-context)")
                                   : std::string("No context fits");
    return absl::ResourceExhaustedError(
        absl::StrCat(TooSmall(problem).message(), ". ", advice,
                     "; else give workers more memory, add workers, or lower --max-sequences"));
  }
  v1::Placement placement = std::move(placed->placement);
  placement.set_step_ms(placed->seconds * 1e3);
  placement.set_lower_bound_ms(placed->bound * 1e3);
  placement.set_gap(placed->seconds / placed->bound - 1);
  return placement;
}

}  // namespace headlong
