// What the admin service shows of the engine.
#include <algorithm>

#include "common/status.h"
#include "common/version.h"
#include "common/wire.h"
#include "coordinator/engine.h"
#include "coordinator/held_lanes.h"

namespace headlong {
namespace {

const char* NameOf(ClusterPhase phase) {
  switch (phase) {
    case ClusterPhase::kWaiting:
      return "waiting";
    case ClusterPhase::kLoading:
      return "loading";
    case ClusterPhase::kServing:
      return "serving";
    case ClusterPhase::kRecovering:
      return "recovering";
  }
  return "waiting";
}

const char* NameOf(WorkerState state) {
  switch (state) {
    case WorkerState::kRegistered:
      return "registered";
    case WorkerState::kLoading:
      return "loading";
    case WorkerState::kReady:
      return "ready";
    case WorkerState::kGone:
      return "gone";
  }
  return "gone";
}

const char* NameOf(SequencePhase phase) {
  switch (phase) {
    case SequencePhase::kWaiting:
      return "waiting";
    case SequencePhase::kPrefill:
      return "prefill";
    case SequencePhase::kDecode:
      return "decode";
  }
  return "waiting";
}

}  // namespace

void Engine::Describe(v1::GetClusterResponse& out) const {
  out.set_state(draining_ ? "draining" : NameOf(cluster_.phase()));
  out.set_reason(cluster_.reason());
  out.set_epoch(cluster_.epoch());
  out.set_workers_expected(options_.cluster.expected_workers);
  for (const auto& [id, worker] : cluster_.workers()) {
    if (worker.state == WorkerState::kReady) {
      out.set_workers_ready(out.workers_ready() + 1);
      out.set_cache_bytes_used(out.cache_bytes_used() + worker.cache_bytes_used);
    }
    if (worker.state == WorkerState::kLoading) {
      out.set_weights_bytes_loaded(out.weights_bytes_loaded() + worker.bytes_done);
      out.set_weights_bytes_total(out.weights_bytes_total() + worker.bytes_total);
    }
  }
  if (out.reason().empty() && cluster_.phase() != ClusterPhase::kServing) {
    out.set_reason(
        absl::StrCat(out.workers_ready(), " of ", out.workers_expected(), " workers are ready"));
  }
  for (const v1::WorkerShare& share : placement_.workers()) {
    out.set_cache_bytes_reserved(out.cache_bytes_reserved() + share.cache_bytes());
  }
  out.set_requests_running(scheduler_.running());
  out.set_requests_waiting(scheduler_.waiting());
  out.set_recoveries(cluster_.recoveries());
  out.set_sequences_moved(moves_.sequences_moved);
  out.set_sequences_replayed(moves_.sequences_replayed);
  out.set_model(options_.model_name);
  out.set_steps(steps_.total);
  out.set_last_step_ms(steps_.last_ms);
  out.set_step_seconds(steps_.total_ms / 1e3);
  out.set_step_tokens(steps_.total_tokens);
  out.set_preemptions(scheduler_.preemptions());
  out.set_tokens_sampled(steps_.total_samples);
  out.set_version(Version());
  out.set_wire_protocol(kWireProtocol);
  out.set_uptime_s(history_.uptime_s(std::chrono::steady_clock::now()));
  out.set_unix_ms(UnixMillis());
}

void Engine::Describe(v1::ListWorkersResponse& out) const {
  for (const auto& [id, member] : cluster_.workers()) {
    v1::Worker& worker = *out.add_workers();
    worker.set_id(id);
    worker.set_address(member.registration.host());
    worker.set_pid(member.registration.pid());
    const bool out_of_service = cluster_.drained(id) && member.state != WorkerState::kGone;
    worker.set_state(out_of_service ? "drained" : NameOf(member.state));
    worker.set_device(member.registration.device());
    worker.set_epoch(member.epoch);
    worker.set_memory_bytes(member.registration.memory_bytes());
    worker.set_cache_bytes_used(member.cache_bytes_used);
    worker.set_read_bytes_per_s(member.registration.read_bytes_per_s());
    worker.set_matmul_flops(member.registration.matmul_flops());
    worker.set_matmul_flops_one_row(member.registration.matmul_flops_one_row());
    worker.set_compute_seconds(member.compute_ms / 1e3);
    worker.set_collective_seconds(member.collective_ms / 1e3);
    worker.set_version(member.registration.version());
    for (const v1::WorkerShare& share : placement_.workers()) {
      if (share.worker_id() == id && member.state != WorkerState::kGone) {
        worker.set_heads(static_cast<uint32_t>(HeldLanesOf(share).size()));
      }
    }
  }
  history_.Describe(std::chrono::steady_clock::now(), out);
}

void Engine::Describe(v1::ListRequestsResponse& out) const {
  const TimePoint now = std::chrono::steady_clock::now();
  for (const auto& [id, live] : requests_) {
    v1::RequestState& state = *out.add_requests();
    const int64_t computed = scheduler_.computed(id);
    state.set_request_id(live.request.id);
    state.set_state(NameOf(scheduler_.phase(id)));
    state.set_prompt_tokens(static_cast<uint32_t>(live.request.prompt_length));
    state.set_computed_tokens(static_cast<uint32_t>(computed));
    state.set_completion_tokens(static_cast<uint32_t>(live.request.generated()));
    if (computed > 0) {
      state.set_cache_bytes(
          live.CacheBytes(*plan_, config_, ElementBytes(options_.cache_storage), computed));
    }
    state.set_age_ms(MillisBetween(live.submitted, now));
    state.set_max_tokens(static_cast<uint32_t>(live.request.max_tokens));
    state.set_queue_ms(MillisBetween(live.submitted, live.scheduled.value_or(now)));
    if (live.first_token)
      state.set_first_token_ms(MillisBetween(live.submitted, *live.first_token));
    state.set_crashes_in_a_row(live.crashes_in_a_row);
  }
}

}  // namespace headlong
