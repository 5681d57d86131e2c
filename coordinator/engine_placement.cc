// What the engine asks of `placement`, and what operators see of it.
#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/status.h"
#include "coordinator/engine.h"

namespace headlong {
namespace {

constexpr double kFloatBytes = 4;  // profiles multiply fp32

// CPU workers keep what is stored in bf16 as it is; GPUs turn weights into the type of products.
void SetWeightBytes(bool bf16_products, bool stored_in_bf16, PlacementProblem& problem) {
  const auto any = [&](std::string_view device) {
    return std::any_of(problem.workers.begin(), problem.workers.end(),
                       [&](const PlacementWorker& worker) { return worker.device == device; });
  };
  const bool wide_on_cpu = any("cpu") && !stored_in_bf16;
  const bool wide_on_gpu = any("cuda") && !bf16_products;
  problem.weight_element_bytes = wide_on_gpu || (wide_on_cpu && !bf16_products) ? 4 : 2;
  problem.embedding_element_bytes = wide_on_gpu || wide_on_cpu ? 4 : 2;
}

// Bytes of weights per second in products of one row: each weight is multiplied and added once.
double WeightBytesPerSecond(const v1::Register& worker) {
  return worker.matmul_flops_one_row() / 2 * kFloatBytes;
}

// What the workers of one host reached together, divided as they would do alone. Who was put aside
// while all computed is chance, and a placement must not follow it. Stays as it is where some
// worker has no figure.
void DivideByHost(const std::vector<const Member*>& members, const std::vector<double>& together,
                  const std::vector<double*>& alone) {
  std::map<std::string, std::pair<double, double>> sums;  // by host: together, alone
  for (size_t i = 0; i < members.size(); ++i) {
    if (together[i] <= 0 || *alone[i] <= 0) return;
    auto& [reached, stated] = sums[members[i]->registration.host()];
    reached += together[i];
    stated += *alone[i];
  }
  for (size_t i = 0; i < members.size(); ++i) {
    const auto& [reached, stated] = sums.at(members[i]->registration.host());
    *alone[i] *= reached / stated;
  }
}

bool ComputedTogether(const std::vector<const Member*>& members) {
  return !members.empty() && std::all_of(members.begin(), members.end(), [](const Member* member) {
    return member->shared.has_value();
  });
}

// What the workers reached while they computed together. REQUIRES: all were measured.
void UseShared(const std::vector<const Member*>& members, PlacementProblem& problem) {
  // Of a sum's time most is waiting, but for the worker that comes last.
  double sum_s = std::numeric_limits<double>::infinity();
  std::vector<double> read, multiplied;
  std::vector<double*> read_alone, multiplied_alone;
  for (size_t i = 0; i < members.size(); ++i) {
    const v1::SharedProfile& shared = *members[i]->shared;
    PlacementWorker& worker = problem.workers[i];
    read.push_back(shared.read_bytes_per_s());
    read_alone.push_back(&worker.read_bytes_per_s);
    multiplied.push_back(shared.weights_per_s() * problem.weight_element_bytes);
    multiplied_alone.push_back(&worker.weight_bytes_per_s);
    worker.layer_s = shared.layer_s();
    sum_s = std::min(sum_s, shared.sum_s());
  }
  DivideByHost(members, read, read_alone);
  DivideByHost(members, multiplied, multiplied_alone);
  if (sum_s > 0) problem.link.sum_latency_s = sum_s;
}

// Of a step: one of the embedding, two per layer, one more where a layer's heads are split.
int SumsOf(const v1::Placement& placement, int layers) {
  std::set<uint32_t> split;
  for (const v1::WorkerShare& worker : placement.workers()) {
    for (const v1::HeadShare& head : worker.heads()) {
      if (head.stripe_count() > 1) split.insert(head.layer());
    }
  }
  return 1 + 2 * layers + static_cast<int>(split.size());
}

}  // namespace

PlacementProblem Engine::Problem(const std::vector<LinkId>& members) const {
  PlacementProblem problem;
  problem.config = &config_;
  problem.plan = plan_;
  problem.max_context = options_.max_context;
  problem.max_sequences = options_.max_sequences;
  problem.max_batch_tokens = options_.max_batch_tokens;
  problem.stripes = options_.stripes;
  problem.objective = options_.objective;
  problem.link = link_;
  problem.link.step_s = steps_.wire_ms.value / 1e3;
  std::vector<const Member*> measured;
  for (LinkId link : members) {
    measured.push_back(cluster_.find(link));
    const v1::Register& worker = measured.back()->registration;
    problem.workers.push_back(
        {worker.worker_id(), worker.device(), static_cast<int64_t>(worker.memory_bytes()),
         worker.read_bytes_per_s(), WeightBytesPerSecond(worker), worker.matmul_flops()});
  }
  problem.cache_element_bytes = ElementBytes(options_.cache_storage);
  SetWeightBytes(bf16_, options_.stored_in_bf16, problem);
  if (ComputedTogether(measured)) {
    UseShared(measured, problem);
    // Dry steps have the machine for themselves. Those that ran shared it with messages and
    // clients.
    if (steps_.sums_ms.known) {
      problem.link.sum_latency_s = steps_.sums_ms.value / 1e3 / SumsOf(placement_, config_.layers);
    }
  }
  return problem;
}

absl::StatusOr<PlacementProblem> Engine::Describe(const v1::GetPlacementRequest& ask,
                                                  v1::GetPlacementResponse& out) const {
  if (ask.context() > static_cast<uint64_t>(options_.max_context)) {
    return absl::InvalidArgumentError(
        absl::StrCat("context: must be at most ", options_.max_context, ", is ", ask.context()));
  }
  if (!(ask.concurrency() >= 0) || ask.concurrency() > options_.max_sequences) {
    return absl::InvalidArgumentError(absl::StrCat(
        "concurrency: must be at most ", options_.max_sequences, ", is ", ask.concurrency()));
  }
  if (placement_.workers().empty()) {
    return absl::FailedPreconditionError(cluster_.reason().empty()
                                             ? "no placement yet: workers are still missing"
                                             : cluster_.reason());
  }
  *out.mutable_placement() = placement_;
  out.set_layers(static_cast<uint32_t>(config_.layers));
  out.set_kv_heads(static_cast<uint32_t>(config_.kv_heads));
  // Workers may have gone since: their last registrations are kept.
  std::vector<LinkId> members;
  for (const v1::WorkerShare& share : placement_.workers()) {
    members.push_back(cluster_.workers().at(share.worker_id()).link);
  }
  PlacementProblem problem = Problem(members);
  problem.level_speeds = false;  // levels are for placing alike, not for foretelling
  problem.workload = {static_cast<int64_t>(ask.context()), ask.concurrency(), 0};
  return problem;
}

absl::StatusOr<PlacementProblem> Engine::ProblemNow(const v1::PlanPlacementRequest& ask,
                                                    v1::PlanPlacementResponse& out) const {
  for (const std::string& id : ask.exclude()) {
    const auto worker = cluster_.workers().find(id);
    if (worker == cluster_.workers().end() || worker->second.state == WorkerState::kGone) {
      return absl::NotFoundError(absl::StrCat("exclude: there is no worker ", id));
    }
  }
  std::vector<LinkId> members;
  for (const LinkId link : cluster_.usable()) {
    const std::string& id = cluster_.find(link)->registration.worker_id();
    if (std::find(ask.exclude().begin(), ask.exclude().end(), id) == ask.exclude().end()) {
      members.push_back(link);
    }
  }
  PlacementProblem problem = Problem(members);
  if (ask.objective() == "capacity") {
    problem.objective = Objective::kCapacity;
  } else if (ask.objective() == "latency") {
    problem.objective = Objective::kLatency;
  } else if (!ask.objective().empty()) {
    return absl::InvalidArgumentError("objective: must be \"latency\" or \"capacity\"");
  }
  out.mutable_placement()->set_epoch(cluster_.epoch());
  out.set_layers(static_cast<uint32_t>(config_.layers));
  out.set_kv_heads(static_cast<uint32_t>(config_.kv_heads));
  return problem;
}

}  // namespace headlong
