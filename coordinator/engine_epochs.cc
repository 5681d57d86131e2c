// How the engine's epochs begin and end.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "common/status.h"
#include "coordinator/engine.h"
#include "coordinator/placement.h"

namespace headlong {
namespace {

constexpr int kMaxCrashes = 2;  // a request present at so many crashes in a row is set aside

// Whether products are in bf16.
bool ChooseBf16(const std::string& dtype, const Cluster& cluster) {
  if (dtype != "auto") return dtype == "bf16";
  return std::all_of(cluster.members().begin(), cluster.members().end(),
                     [&](LinkId link) { return cluster.find(link)->registration.native_bf16(); });
}

}  // namespace

void Engine::Apply(const ClusterActions& actions, bool blame_requests) {
  for (LinkId link : actions.close) {
    const auto port = ports_.find(link);
    if (port == ports_.end()) continue;
    port->second->Close(absl::UnavailableError("taken for dead, or replaced"));
    ports_.erase(port);
  }
  if (actions.stop_work) StopWork(blame_requests);
  if (actions.begin_epoch) BeginEpoch();
  if (actions.began_serving) BeginServing();
}

void Engine::StopWork(bool blame_requests) {
  spdlog::warn("epoch {} is over: {}", cluster_.epoch(), cluster_.reason());
  SetServing(false);
  std::vector<uint64_t> poisonous;
  if (!awaited_.empty() && blame_requests) {
    for (uint64_t id : scheduler_.Scheduled()) {
      const auto live = requests_.find(id);
      if (live == requests_.end()) continue;
      scheduler_.Suspect(id);
      if (++live->second.crashes_in_a_row >= kMaxCrashes) poisonous.push_back(id);
    }
  }
  awaited_.clear();
  for (uint64_t id : poisonous) {
    spdlog::error("request {} was in the step at {} crashes in a row: set aside",
                  requests_.at(id).request.id, kMaxCrashes);
    Fail(id, absl::AbortedError("set aside: workers crashed twice in a row on this request"));
  }
}

void Engine::BeginEpoch() {
  if (cluster_.epoch() == 1) bf16_ = ChooseBf16(options_.dtype, cluster_);
  auto placement = Place(Problem(cluster_.members()));
  if (!placement.ok()) {
    const std::string why(placement.status().message());
    spdlog::error("epoch {}: {}", cluster_.epoch(), why);
    return cluster_.PlacementRefused(why, std::chrono::steady_clock::now());
  }
  placement_ = *std::move(placement);
  placed_link_ = link_;
  placement_.set_epoch(cluster_.epoch());
  rendezvous_.clear();
  step_ = 0;
  spdlog::info("epoch {}: {} workers, modelled step {:.3f} ms, gap {:.2f}", cluster_.epoch(),
               placement_.workers_size(), placement_.step_ms(), placement_.gap());
  v1::WorkerCommand command;
  v1::Configure& configure = *command.mutable_configure();
  configure.set_epoch(cluster_.epoch());
  *configure.mutable_placement() = placement_;
  configure.set_plan_json(plan_.ToJson());
  configure.set_dtype(dtype());
  configure.set_kv_cache_dtype(options_.cache_element_bytes == 2 ? "bf16" : "fp32");
  configure.set_max_sequences(options_.max_sequences);
  configure.set_max_context(static_cast<uint32_t>(options_.max_context));
  configure.set_max_batch_tokens(options_.max_batch_tokens);
  for (size_t rank = 0; rank < cluster_.members().size(); ++rank) {
    configure.set_rank(static_cast<uint32_t>(rank));
    const auto port = ports_.find(cluster_.members()[rank]);
    if (port != ports_.end()) port->second->Send(command);
  }
}

void Engine::BeginServing() {
  scheduler_.BeginEpoch(PageBudget(&plan_, BudgetOf(plan_, placement_)));
  spdlog::info("epoch {} serves; {} requests go on", cluster_.epoch(), requests_.size());
  SetServing(true);
}

}  // namespace headlong
