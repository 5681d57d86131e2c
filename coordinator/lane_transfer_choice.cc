#include "coordinator/lane_transfer_choice.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "cache/lane_moves.h"
#include "coordinator/held_lanes.h"
#include "coordinator/page_budget.h"
#include "coordinator/placement_report.h"

namespace headlong {
namespace {

// Where no sum over sockets was measured: lanes go through them also between GPUs, whose sums do
// not.
constexpr double kSocketBytesPerS = 1e9;
constexpr double kStagingBytesPerS = 2e9;  // out of caches and into them, first touch included
constexpr double kConnectS = 0.1;

std::vector<std::vector<HeldLane>> LanesByRank(const v1::Placement& placement,
                                               const v1::LaneTransfer& transfer) {
  std::vector<std::vector<HeldLane>> lanes(transfer.workers_size());
  for (const v1::WorkerShare& share : placement.workers()) {
    const auto& ids = transfer.workers();
    lanes[std::find(ids.begin(), ids.end(), share.worker_id()) - ids.begin()] = HeldLanesOf(share);
  }
  return lanes;
}

void AddWorkers(const v1::Placement& placement, v1::LaneTransfer& transfer) {
  for (const v1::WorkerShare& share : placement.workers()) {
    const auto& ids = transfer.workers();
    if (std::find(ids.begin(), ids.end(), share.worker_id()) == ids.end()) {
      transfer.add_workers(share.worker_id());
    }
  }
}

void AddThoseThatFit(const PlacementChange& change, const std::vector<v1::LiveSequence>& running,
                     v1::LaneTransfer& transfer) {
  const Plan& plan = *change.problem->plan;
  PageBudget budget(&plan, BudgetOf(plan, *change.to));
  for (const v1::LiveSequence& sequence : running) {
    const std::vector<int64_t> demand =
        budget.Demand(static_cast<int64_t>(sequence.committed()), sequence.prompt_tokens());
    // First come, first served: nobody overtakes one that must wait.
    if (!budget.Fits(demand, std::vector<int64_t>(demand.size(), 0))) return;
    budget.Take(demand);
    *transfer.add_sequences() = sequence;
  }
}

// Sums between CPUs go over the same sockets, as a ring: of n bytes each of p workers sends, and
// receives, 2 (p - 1) / p n.
double SocketBytesPerSecond(const PlacementProblem& problem, int workers) {
  const double sums = problem.link.bytes_per_s;
  const bool sockets =
      std::all_of(problem.workers.begin(), problem.workers.end(),
                  [](const PlacementWorker& worker) { return worker.device == "cpu"; });
  if (sums <= 0) return kSocketBytesPerS;
  return sockets ? sums * 2 * (workers - 1) / workers : std::min(sums, kSocketBytesPerS);
}

// The slowest worker's part, one after the other: copying out, sending or receiving, copying in.
void CountSending(const PlacementChange& change, TransferChoice& choice) {
  const PlacementProblem& problem = *change.problem;
  const v1::LaneTransfer& transfer = choice.transfer;
  const ElementShape element{problem.config->head_dim, problem.cache_element_bytes};
  struct Traffic {
    double out = 0, in = 0, staged = 0;
  };
  std::vector<Traffic> traffic(transfer.workers_size());
  for (const LaneMove& move :
       LaneMoves(LanesByRank(*change.from, transfer), LanesByRank(*change.to, transfer))) {
    for (const v1::LiveSequence& sequence : transfer.sequences()) {
      const LaneRule rule = RuleOf(*problem.plan, move.lane, sequence.prompt_tokens());
      const int64_t bytes =
          BytesMoved(move, rule, static_cast<int64_t>(sequence.committed()), element);
      traffic[move.from].staged += static_cast<double>(bytes);
      traffic[move.to].staged += static_cast<double>(bytes);
      if (move.from == move.to) continue;
      traffic[move.from].out += static_cast<double>(bytes);
      traffic[move.to].in += static_cast<double>(bytes);
      choice.bytes += bytes;
    }
  }
  const double rate = SocketBytesPerSecond(problem, transfer.workers_size());
  for (const Traffic& worker : traffic) {
    const double seconds =
        worker.staged / kStagingBytesPerS + std::max(worker.out, worker.in) / rate;
    choice.send_s = std::max(choice.send_s, seconds);
  }
  choice.send_s += kConnectS;
}

// Steps full of prompt rows, each modelled at half of the sequence's length.
double ReplaySeconds(const PlacementChange& change, const v1::LaneTransfer& transfer) {
  double seconds = 0;
  for (const v1::LiveSequence& sequence : transfer.sequences()) {
    PlacementProblem problem = *change.problem;
    problem.workload.context = std::max<int64_t>(1, static_cast<int64_t>(sequence.committed()) / 2);
    problem.workload.concurrency = 1;
    problem.workload.prefill_share = 1;
    const double steps =
        static_cast<double>(sequence.committed()) / std::max(1, problem.max_batch_tokens);
    seconds += steps * StepMillis(ReportOf(problem, *change.to)) / 1000;
  }
  return seconds;
}

}  // namespace

absl::StatusOr<MoveMode> MoveModeFromName(const std::string& name) {
  if (name == "auto") return MoveMode::kAuto;
  if (name == "replay") return MoveMode::kReplay;
  if (name == "live") return MoveMode::kLive;
  return absl::InvalidArgumentError(
      absl::StrCat("--moves: must be auto, replay or live, is \"", name, "\""));
}

TransferChoice ChooseTransfer(const PlacementChange& change,
                              const std::vector<v1::LiveSequence>& running) {
  TransferChoice choice;
  if (change.mode == MoveMode::kReplay) return choice;
  v1::LaneTransfer& transfer = choice.transfer;
  AddThoseThatFit(change, running, transfer);
  if (transfer.sequences().empty()) return choice;
  AddWorkers(*change.from, transfer);
  AddWorkers(*change.to, transfer);
  CountSending(change, choice);
  choice.replay_s = ReplaySeconds(change, transfer);
  if (change.mode == MoveMode::kAuto && choice.replay_s <= choice.send_s) {
    transfer.Clear();
  } else {
    *transfer.mutable_from() = *change.from;
  }
  return choice;
}

}  // namespace headlong
