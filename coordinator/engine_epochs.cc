// How the engine's epochs begin and end.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "common/status.h"
#include "coordinator/calibration/projections_file.h"
#include "coordinator/engine.h"
#include "coordinator/held_lanes.h"
#include "coordinator/placement.h"
#include "coordinator/placement_json.h"
#include "coordinator/placement_reserve.h"
#include "coordinator/probes.h"

namespace headlong {
namespace {

constexpr int kMaxCrashes = 2;  // a request present at so many crashes in a row is set aside

// Whether products are in bf16.
bool ChooseBf16(const std::string& dtype, const Cluster& cluster) {
  if (dtype != "auto") return dtype == "bf16";
  return std::all_of(cluster.members().begin(), cluster.members().end(),
                     [&](LinkId link) { return cluster.find(link)->registration.native_bf16(); });
}

bool AllOnCpus(const Cluster& cluster) {
  return std::all_of(cluster.members().begin(), cluster.members().end(), [&](LinkId link) {
    return cluster.find(link)->registration.device() == "cpu";
  });
}

// As it was given, where it was. A later epoch may have other workers than that one names: then the
// model is placed anew.
absl::StatusOr<v1::Placement> PlaceOrReserve(const PlacementProblem& problem,
                                             const v1::Placement& given, uint64_t epoch) {
  if (given.workers().empty()) return Place(problem);
  absl::StatusOr<v1::Placement> placement = Reserve(problem, given);
  if (placement.ok() || epoch == 1) return placement;
  spdlog::warn("epoch {}: placed anew, since {}", epoch, std::string(placement.status().message()));
  return Place(problem);
}

// What ended, if all who hold its lanes are there to hand them over.
std::optional<EndedEpoch> TakeEnded(const Cluster& cluster, const std::string& plan_json,
                                    Moves& moves) {
  std::optional<EndedEpoch> ended = std::exchange(moves.ended, std::nullopt);
  if (!ended || ended->plan_json != plan_json) return std::nullopt;
  const bool alive = std::all_of(ended->members.begin(), ended->members.end(), [&](LinkId link) {
    const Member* member = cluster.find(link);
    return member != nullptr && member->state != WorkerState::kGone;
  });
  return alive ? std::move(ended) : std::nullopt;
}

// Decides whether sequences go on from their lanes in the epoch that begins.
void PlanTransfer(const Cluster& cluster, PlacementChange change,
                  const std::vector<v1::LiveSequence>& running, Moves& moves) {
  moves.transfer.Clear();
  moves.leaving.clear();
  moves.lanes_kept = true;
  const std::optional<EndedEpoch> ended = TakeEnded(cluster, change.problem->plan->ToJson(), moves);
  if (!ended || running.empty()) return;
  change.from = &ended->placement;
  TransferChoice choice = ChooseTransfer(change, running);
  const bool live = !choice.transfer.sequences().empty();
  spdlog::info(
      "epoch {}: {} of {} running sequences move live; {} bytes between workers, {:.3f} s "
      "to send, {:.3f} s to compute again",
      cluster.epoch(), choice.transfer.sequences_size(), running.size(), choice.bytes,
      choice.send_s, choice.replay_s);
  if (!live) return;
  moves.transfer = std::move(choice.transfer);
  moves.transfer.set_from_epoch(ended->epoch);
  for (const LinkId link : ended->members) {
    const std::vector<LinkId>& stay = cluster.members();
    if (std::find(stay.begin(), stay.end(), link) == stay.end()) moves.leaving.push_back(link);
  }
}

// Rank in the transfer.
uint32_t RankOf(const v1::LaneTransfer& transfer, const std::string& worker_id) {
  const auto& ids = transfer.workers();
  return static_cast<uint32_t>(std::find(ids.begin(), ids.end(), worker_id) - ids.begin());
}

// Of the heads with a rank that the worker holds.
void SetProjections(const Plan& plan, const v1::WorkerShare& share, v1::Configure& configure) {
  configure.clear_projections();
  if (plan.projections() == nullptr) return;
  for (const HeldLane& lane : HeldLanesOf(share)) {
    if (!plan.policy(lane.id.layer, lane.id.head).rank.projected()) continue;
    AddToWire(lane.id.layer, lane.id.head, *plan.projections()->find(lane.id.layer, lane.id.head),
              *configure.mutable_projections());
  }
}

}  // namespace

void Engine::Apply(const ClusterActions& actions, bool blame_requests) {
  for (LinkId link : actions.close) {
    const auto port = ports_.find(link);
    if (port == ports_.end()) continue;
    port->second->Close(absl::UnavailableError("taken for dead, or replaced"));
    ports_.erase(port);
  }
  moves_.join |= actions.join;
  if (actions.stop_work) StopWork(blame_requests);
  if (actions.begin_epoch) BeginEpoch();
  if (actions.began_serving) BeginServing();
}

void Engine::StopWork(bool blame_requests) {
  spdlog::warn("epoch {} is over: {}", cluster_.epoch(), cluster_.reason());
  history_.Ended(cluster_.reason());
  traces_.EpochEnded(cluster_.epoch(), cluster_.reason(), std::chrono::steady_clock::now());
  SetServing(false);
  std::vector<uint64_t> poisonous;
  if (steps_.open() && blame_requests) {
    for (uint64_t id : scheduler_.Scheduled()) {
      const auto live = requests_.find(id);
      if (live == requests_.end()) continue;
      scheduler_.Suspect(id);
      if (++live->second.crashes_in_a_row >= kMaxCrashes) poisonous.push_back(id);
    }
  }
  steps_.in_flight.clear();
  for (uint64_t id : poisonous) {
    spdlog::error("request {} was in the step at {} crashes in a row: set aside",
                  requests_.at(id).request.id, kMaxCrashes);
    Fail(id, absl::AbortedError("set aside: workers crashed twice in a row on this request"));
  }
  for (uint64_t id : ProbesIn(requests_)) {
    if (!requests_.at(id).scheduled) continue;  // not begun
    Fail(id, absl::UnavailableError("probe: the workers changed while it was measured"));
  }
}

void Engine::BeginEpoch() {
  if (cluster_.epoch() == 1) bf16_ = ChooseBf16(options_.dtype, cluster_);
  const PlacementProblem problem = Problem(cluster_.members());
  auto placement = PlaceOrReserve(problem, moves_.given, cluster_.epoch());
  if (!placement.ok()) {
    const std::string why(placement.status().message());
    spdlog::error("epoch {}: {}", cluster_.epoch(), why);
    history_.CouldNotBegin(cluster_.epoch(), cluster_.reason(), why, UnixMillis());
    return cluster_.PlacementRefused(why, std::chrono::steady_clock::now());
  }
  placement_ = *std::move(placement);
  placement_.set_epoch(cluster_.epoch());
  history_.Began(placement_, cluster_.reason(), UnixMillis(), std::chrono::steady_clock::now());
  rendezvous_.clear();
  steps_.number = 0;
  steps_.sums_ms = {};
  spdlog::info("epoch {}: {} workers, modelled step {:.3f} ms, gap {:.2f}", cluster_.epoch(),
               placement_.workers_size(), placement_.step_ms(), placement_.gap());
  PlacementChange change;
  change.problem = &problem;
  change.to = &placement_;
  change.mode = options_.moves;
  PlanTransfer(cluster_, change, scheduler_.Live(), moves_);
  SendEpoch();
}

void Engine::SendEpoch() {
  const auto send = [this](LinkId link, const v1::WorkerCommand& command) {
    const auto port = ports_.find(link);
    if (port != ports_.end()) port->second->Send(command);
  };
  v1::WorkerCommand command;
  v1::Configure& configure = *command.mutable_configure();
  configure.set_epoch(cluster_.epoch());
  *configure.mutable_placement() = placement_;
  configure.set_plan_json(plan_->ToJson());
  configure.set_dtype(dtype());
  configure.set_kv_cache_dtype(std::string(StorageName(options_.cache_storage)));
  configure.set_max_sequences(options_.max_sequences);
  configure.set_max_context(static_cast<uint32_t>(options_.max_context));
  configure.set_max_batch_tokens(options_.max_batch_tokens);
  configure.set_measure(requests_.empty() && AllOnCpus(cluster_));  // streams do not wait for it
  if (!moves_.transfer.sequences().empty()) *configure.mutable_transfer() = moves_.transfer;
  for (size_t rank = 0; rank < cluster_.members().size(); ++rank) {
    configure.set_rank(static_cast<uint32_t>(rank));
    SetProjections(*plan_, placement_.workers(static_cast<int>(rank)), configure);
    send(cluster_.members()[rank], command);
  }
  configure.clear_projections();
  for (const LinkId link : moves_.leaving) {
    v1::WorkerCommand leave;
    *leave.mutable_hand_over()->mutable_to() = configure;
    leave.mutable_hand_over()->set_rank(
        RankOf(moves_.transfer, cluster_.find(link)->registration.worker_id()));
    send(link, leave);
  }
}

absl::Status Engine::Drain(const v1::DrainWorkerRequest& ask) {
  const std::string& worker_id = ask.worker_id();
  const bool drained = !ask.back();
  RETURN_IF_ERROR(drained ? CheckWithout(worker_id) : cluster_.CheckDrain(worker_id, drained));
  if (!ask.dry_run()) moves_.drains[worker_id] = drained;
  return absl::OkStatus();
}

absl::Status Engine::CheckWithout(const std::string& worker_id) const {
  RETURN_IF_ERROR(cluster_.CheckDrain(worker_id, true));
  if (cluster_.epoch() == 0) return absl::OkStatus();
  std::vector<LinkId> others;
  for (const auto& [id, worker] : cluster_.workers()) {
    const auto asked = moves_.drains.find(id);
    const bool drained = asked == moves_.drains.end() ? cluster_.drained(id) : asked->second;
    const bool leaves = worker.leaving || moves_.leaves.contains(worker.link);
    if (id != worker_id && !drained && !leaves && worker.state != WorkerState::kGone) {
      others.push_back(worker.link);
    }
  }
  if (others.empty()) return absl::FailedPreconditionError("no other worker is left");
  const auto placement = Place(Problem(others));
  if (placement.ok()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("without ", worker_id, " ", placement.status().message()));
}

// Hands its lanes over like a drained worker, but is let back in when it comes anew.
void Engine::WorkerLeaves(LinkId link) {
  const Member* member = cluster_.find(link);
  if (member == nullptr || draining_) return;  // draining: its end is the end of all streams
  const std::string& id = member->registration.worker_id();
  const absl::Status fits = CheckWithout(id);
  if (fits.ok()) {
    spdlog::info("worker {} leaves", id);
    moves_.leaves.insert(link);
    return;
  }
  // Nothing is won by keeping it: what runs is replayed when it, or another one, comes.
  spdlog::warn("worker {} leaves, requests wait for another: {}", id, std::string(fits.message()));
  moves_.released.insert(link);
  SendShutdown(link, "it leaves, and the others cannot do without it");
}

void Engine::ReleaseLeaving() {
  const std::vector<LinkId>& members = cluster_.members();
  const bool serving = cluster_.phase() == ClusterPhase::kServing;
  if (!serving && cluster_.phase() != ClusterPhase::kWaiting) return;
  for (const auto& [id, member] : cluster_.workers()) {
    if (!member.leaving || member.state == WorkerState::kGone) continue;
    const bool in = std::find(members.begin(), members.end(), member.link) != members.end();
    if ((in && serving) || !moves_.released.insert(member.link).second) continue;
    SendShutdown(member.link, "it leaves, and the others go on");
  }
}

void Engine::MaybeMove() {
  if (steps_.open() || !moves_.waiting()) return;
  const TimePoint now = std::chrono::steady_clock::now();
  std::optional<EndedEpoch> ended;
  if (cluster_.phase() == ClusterPhase::kServing) {
    ended = EndedEpoch{cluster_.epoch(), placement_, plan_->ToJson(), cluster_.members()};
  }
  for (const auto& [id, drained] : std::exchange(moves_.drains, {})) {
    Apply(cluster_.SetDrained(id, drained, now), false);
  }
  for (const LinkId link : std::exchange(moves_.leaves, {})) {
    Apply(cluster_.SetLeaving(link, now), false);
  }
  if (std::exchange(moves_.join, false)) Apply(cluster_.Join(now), false);
  if (const Plan* plan = std::exchange(moves_.plan, nullptr); plan != nullptr) {
    plan_ = plan;
    Apply(cluster_.Move("an operator's plan is put in force", now), false);
  }
  if (std::exchange(moves_.given_is_new, false)) {
    Apply(cluster_.Move("an operator's placement is put in force", now), false);
  }
  if (ended && cluster_.phase() == ClusterPhase::kRecovering) moves_.ended = std::move(ended);
}

absl::StatusOr<uint64_t> Engine::ApplyPlacement(const v1::ApplyPlacementRequest& ask) {
  if (ask.check_epoch() != 0 && ask.check_epoch() != cluster_.epoch()) {
    return absl::AbortedError(
        absl::StrCat("the epoch is ", cluster_.epoch(), ", not ", ask.check_epoch(),
                     ": the placement was made for another cluster; plan it anew"));
  }
  if (cluster_.phase() != ClusterPhase::kServing) {
    return absl::FailedPreconditionError(
        absl::StrCat("the cluster does not serve: ", cluster_.reason()));
  }
  ASSIGN_OR_RETURN(const v1::Placement given,
                   PlacementFromJson(ask.placement_json(), config_, *plan_, "placement"));
  std::vector<LinkId> members;
  std::map<std::string, bool> drains;  // who is not named goes, who is named returns
  for (const auto& [id, worker] : cluster_.workers()) {
    if (worker.state == WorkerState::kGone) continue;
    const bool named =
        std::any_of(given.workers().begin(), given.workers().end(),
                    [&id](const v1::WorkerShare& share) { return share.worker_id() == id; });
    if (named) members.push_back(worker.link);
    if (named == cluster_.drained(id)) drains[id] = !named;
  }
  RETURN_IF_ERROR(Reserve(Problem(members), given).status());
  if (ask.dry_run()) return cluster_.epoch();
  moves_.drains = drains;
  moves_.given = given;
  moves_.given_is_new = true;
  return cluster_.epoch();
}

absl::StatusOr<uint64_t> Engine::ApplyPlan(const v1::ApplyPlanRequest& ask) {
  const PlanShape shape = PlanShapeOf(config_, options_.fingerprint);
  ASSIGN_OR_RETURN(Plan given, Plan::FromJson(ask.plan_json(), shape, "plan"));
  if (!given.projections_file().empty()) {
    ASSIGN_OR_RETURN(auto projections, FromWire(ask.projections(), config_.head_dim));
    RETURN_IF_ERROR(given.UseProjections(std::move(projections)));
  }
  if (given.prefill() != plan_->prefill()) {
    return absl::FailedPreconditionError(
        "plan: another `prefill` than the plan in force has; start anew with --plan");
  }
  if (!moves_.given.workers().empty()) {
    return absl::FailedPreconditionError("plan: a placement of the plan in force was given");
  }
  if (cluster_.phase() != ClusterPhase::kServing) {
    return absl::FailedPreconditionError(
        absl::StrCat("the cluster does not serve: ", cluster_.reason()));
  }
  const Plan& plan = moves_.plans.emplace_back(given.BoundedBy(config_.layer_windows));
  PlacementProblem problem = Problem(cluster_.members());
  problem.plan = &plan;
  if (const auto placed = Place(problem); !placed.ok()) {
    return absl::FailedPreconditionError(absl::StrCat("plan: ", placed.status().message()));
  }
  moves_.plan = &plan;
  return cluster_.epoch();
}

void Engine::Configured(LinkId link, const v1::ConfigureDone& done) {
  const std::vector<LinkId>& members = cluster_.members();
  if (done.epoch() == cluster_.epoch()) {
    // The leader's figures hold for all: a sum ends for every worker when it ends for one.
    const bool leads = !members.empty() && link == members.front();
    if (leads && done.sum_latency_s() > 0) link_ = {done.sum_latency_s(), done.sum_bytes_per_s()};
    if (done.has_shared()) cluster_.find(link)->shared = done.shared();
    moves_.lanes_kept = moves_.lanes_kept && done.lanes_kept();
    const bool peer_lost = done.code() == static_cast<int>(absl::StatusCode::kUnavailable);
    if (done.code() != 0 && !peer_lost && !moves_.given.workers().empty()) {
      // What a worker cannot hold is not tried a second time.
      spdlog::error("the given placement is dropped: {}", done.message());
      moves_.given.Clear();
    }
  }
  Apply(cluster_.ConfigureDone(link, done, std::chrono::steady_clock::now()), false);
}

void Engine::BeginServing() {
  std::vector<uint64_t> kept;
  for (const v1::LiveSequence& sequence : moves_.transfer.sequences()) {
    if (moves_.lanes_kept) kept.push_back(sequence.sequence_id());
  }
  uint64_t begun = 0;
  for (const auto& [id, live] : requests_) begun += scheduler_.progress(id) > 0 ? 1 : 0;
  scheduler_.BeginEpoch(PageBudget(plan_, BudgetOf(*plan_, placement_)), kept);
  const auto moved = static_cast<uint64_t>(scheduler_.running());
  moves_.sequences_moved += moved;
  moves_.sequences_replayed += begun - moved;
  const TimePoint now = std::chrono::steady_clock::now();
  history_.Serves(moved, begun - moved, now);
  traces_.EpochServes(scheduler_, now);
  spdlog::info("epoch {} serves; {} requests go on, {} of them where they were", cluster_.epoch(),
               requests_.size(), moved);
  SetServing(true);
}

}  // namespace headlong
