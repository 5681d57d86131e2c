#include "coordinator/engine.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "common/name_rule.h"
#include "common/status.h"
#include "common/version.h"
#include "common/wire.h"
#include "coordinator/cache_share.h"
#include "coordinator/probes.h"
#include "coordinator/retry_hint.h"

namespace headlong {
namespace {

// Samples are those asked for, in order, of tokens that exist.
bool Answers(const v1::StepDone& done, const std::vector<uint64_t>& sampling, uint32_t vocab) {
  return std::equal(done.samples().begin(), done.samples().end(), sampling.begin(), sampling.end(),
                    [vocab](const v1::Sample& sample, uint64_t id) {
                      return sample.sequence_id() == id && sample.token_id() < vocab;
                    });
}

constexpr Millis kTickInterval{20};
constexpr Millis kRetryAfter{1000};  // when the queue is full
// A waiting request learns the reason a little before its own deadline would cut it off.
constexpr std::chrono::milliseconds kBeforeDeadline{150};

TimePoint Now() { return std::chrono::steady_clock::now(); }

// Why no epoch serves.
std::string WhyNot(const Cluster& cluster) {
  const std::string& why = cluster.reason_for_clients();
  return why.empty() ? "waiting for workers" : why;
}

SchedulerLimits LimitsOf(const EngineOptions& options, const ModelConfig& config,
                         const Plan& plan) {
  SchedulerLimits limits;
  limits.max_rows = options.max_batch_tokens;
  limits.max_sequences = options.max_sequences;
  limits.layers = config.layers;
  bool local = false;
  for (int layer = 0; layer < plan.layers(); ++layer) {
    for (int head = 0; head < plan.kv_heads(); ++head) local |= !plan.policy(layer, head).full();
  }
  limits.exact_prefill = local && plan.prefill() == PrefillMode::kExact;
  return limits;
}

}  // namespace

Engine::Engine(const EngineOptions& options, const ModelConfig* config, const Plan* plan,
               const Tokenizer* tokenizer)
    : options_(options),
      config_(*config),
      plan_(plan),
      tokenizer_(tokenizer),
      cluster_(options.cluster),
      scheduler_(LimitsOf(options, *config, *plan)),
      history_(Now()) {
  moves_.given = options.placement;
}

Engine::~Engine() {
  Stop(Millis(0));
  Join();
}

void Engine::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void Engine::Stop(Millis drain) {
  draining_ = true;
  if (!thread_.joinable()) return;
  const TimePoint end = Now() + drain;
  while (!idle_ && Now() < end) std::this_thread::sleep_for(kTickInterval);
  stopping_ = true;
  while (!stopped_) std::this_thread::sleep_for(Millis(1));
}

void Engine::Join() {
  joining_ = true;
  if (thread_.joinable()) thread_.join();
}

void Engine::Loop() {
  while (!stopping_) {
    mailbox_.Run(absl::FromChrono(kTickInterval));
    Apply(cluster_.Tick(steps_.open(), Now()), /*blame_requests=*/true);
    ExpireWaiting();
    MaybeMove();
    ReleaseLeaving();
    MaybeStep();
    idle_ = requests_.empty();
  }
  EndWork();
  stopped_ = true;
  while (!joining_) mailbox_.Run(absl::FromChrono(kTickInterval));
}

void Engine::EndWork() {
  while (!requests_.empty()) {
    Fail(requests_.begin()->first, absl::UnavailableError("the server is shutting down"));
  }
  for (const auto& [link, port] : ports_) {
    if (options_.ends_workers) {
      SendShutdown(link, "the coordinator shuts down");
    } else {  // it registers with the next coordinator
      port->Close(absl::UnavailableError("the coordinator shuts down"));
    }
  }
  SetServing(false);
}

// A worker closes its stream once it has read this; ending it here could overtake the message. Who
// does not is cut off when the server closes.
void Engine::SendShutdown(LinkId link, const std::string& reason) {
  const auto port = ports_.find(link);
  if (port == ports_.end()) return;
  v1::WorkerCommand command;
  command.mutable_shutdown()->set_reason(reason);
  port->second->Send(command);
}

// ---- requests ----

void Engine::Submit(Request request, std::shared_ptr<ClientPort> client,
                    std::chrono::system_clock::time_point deadline) {
  if (draining_) return client->Failed(absl::UnavailableError("the server is shutting down"));
  if (request_ids_.contains(request.id)) {
    return client->Failed(absl::AlreadyExistsError(
        absl::StrCat("request_id: \"", request.id, "\" is in use by a request in flight")));
  }
  if (request.probe) {
    const absl::Status fits = CheckProbe(requests_, *plan_);
    if (!fits.ok()) return client->Failed(fits);
  }
  if (scheduler_.waiting() >= options_.max_waiting) {
    return client->Failed(
        TryAgain(absl::StrCat(scheduler_.waiting(), " requests are waiting already"), kRetryAfter));
  }
  if (const PageBudget* budget = scheduler_.budget(); budget != nullptr) {
    const absl::Status fits = CheckCacheShare(request, requests_, *budget);
    if (!fits.ok()) return client->Failed(fits);
  }
  const uint64_t id = next_sequence_++;
  const std::string request_id = request.id;
  const auto [entry, is_new] = requests_.emplace(
      id, LiveRequest(std::move(request), config_, tokenizer_, std::move(client), Now()));
  LiveRequest& live = entry->second;
  live.deadline = deadline;
  request_ids_[request_id] = id;
  traces_.Begin(id, live.request, serving_ ? "" : WhyNot(cluster_), Now());
  live.client->Accepted(live.request.prompt_length, live.request.sampling.seed);
  if (live.finished()) return Finish(id);  // resumed where nothing was left to do
  v1::SequenceStart start;
  start.set_prompt_tokens(static_cast<uint32_t>(live.request.original_prompt_tokens));
  *start.mutable_sampling() = ToWire(live.request.sampling);
  if (live.request.probe) *start.mutable_probe() = *live.request.probe;
  scheduler_.Add(id, live.request.tokens, live.request.prompt_length + live.request.max_tokens,
                 std::move(start));
}

absl::Status Engine::Cancel(const std::string& request_id, bool dry_run) {
  const auto it = request_ids_.find(request_id);
  if (it == request_ids_.end()) {
    return absl::NotFoundError(
        absl::StrCat("no request \"", request_id, "\" is queued or running"));
  }
  if (!dry_run) Finish(it->second);
  return absl::OkStatus();
}

void Engine::Finish(uint64_t id) {
  LiveRequest& live = requests_.at(id);
  const FinishedRequest summary =
      live.Summary(*plan_, config_, ElementBytes(options_.cache_storage), Now());
  traces_.End(id, FinishReasonName(summary.reason), Now());
  live.client->Finished(summary);
  scheduler_.Remove(id);
  request_ids_.erase(live.request.id);
  requests_.erase(id);
}

void Engine::Fail(uint64_t id, const absl::Status& status) {
  LiveRequest& live = requests_.at(id);
  traces_.End(id, status.ToString(), Now());
  live.client->Failed(status);
  scheduler_.Remove(id);
  request_ids_.erase(live.request.id);
  requests_.erase(id);
}

// Requests that wait for the cluster until their deadline learn why.
void Engine::ExpireWaiting() {
  if (cluster_.phase() == ClusterPhase::kServing) return;
  const auto soon = std::chrono::system_clock::now() + kBeforeDeadline;
  std::vector<uint64_t> expired;
  for (const auto& [id, live] : requests_) {
    if (live.deadline && *live.deadline < soon) expired.push_back(id);
  }
  for (uint64_t id : expired) Fail(id, absl::UnavailableError(WhyNot(cluster_)));
}

// ---- workers ----

absl::StatusOr<v1::CheckRegisterResponse> Engine::CheckRegister(
    const v1::Register& registration) const {
  if (registration.protocol() != kWireProtocol) {
    return absl::FailedPreconditionError(absl::StrCat("speaks protocol ", registration.protocol(),
                                                      ", this coordinator ", kWireProtocol));
  }
  if (!IsName(registration.worker_id())) {
    return absl::FailedPreconditionError(absl::StrCat("worker id must match ", Av(kNameRule)));
  }
  if (registration.model_fingerprint() != options_.fingerprint) {
    return absl::FailedPreconditionError(
        "has another model (fingerprints of the weight files differ)");
  }
  const auto known = cluster_.workers().find(registration.worker_id());
  if (known != cluster_.workers().end() && known->second.state != WorkerState::kGone) {
    const v1::Register& live = known->second.registration;  // the same process comes in again
    if (live.pid() != registration.pid() || live.host() != registration.host()) {
      return absl::AlreadyExistsError(absl::StrCat("a live worker is registered as ", known->first,
                                                   "; give this one another --id"));
    }
  }
  v1::CheckRegisterResponse welcome;
  welcome.set_protocol(kWireProtocol);
  welcome.set_version(Version());
  welcome.set_model(options_.model_name);
  welcome.set_fingerprint(options_.fingerprint);
  return welcome;
}

void Engine::WorkerRegistered(LinkId link, const v1::Register& registration,
                              std::shared_ptr<WorkerPort> port) {
  absl::Status welcome = CheckRegister(registration).status();
  if (ports_.contains(link)) {
    welcome = absl::FailedPreconditionError("registers twice over one connection");
  }
  if (!welcome.ok()) {
    const std::string why(welcome.message());
    if (!absl::IsAlreadyExists(welcome)) {  // which is tried again until the other one is gone
      spdlog::warn("worker {} refused: {}", registration.worker_id().substr(0, 64), why);
    }
    history_.WorkerRefused(registration, why, Now());
    return port->Close(welcome);
  }
  if (stopping_) return port->Close(absl::UnavailableError("the coordinator is shutting down"));
  history_.WorkerAccepted(registration.worker_id());
  ports_[link] = port;
  v1::WorkerCommand command;
  command.mutable_registered()->set_heartbeat_interval_ms(200);
  port->Send(command);
  spdlog::info("worker {} registered from {}, pid {}", registration.worker_id(),
               registration.host(), registration.pid());
  Apply(cluster_.Registered(link, registration, Now()), /*blame_requests=*/false);
}

void Engine::WorkerEvent(LinkId link, const v1::WorkerEvent& event) {
  if (stopped_ || !ports_.contains(link)) return;
  const TimePoint now = Now();
  switch (event.event_case()) {
    case v1::WorkerEvent::kHeartbeat:
      return Apply(cluster_.Beat(link, event.heartbeat(), now), false);
    case v1::WorkerEvent::kLoadProgress:
      return cluster_.Loaded(link, event.load_progress(), now);
    case v1::WorkerEvent::kConfigureDone:
      return Configured(link, event.configure_done());
    case v1::WorkerEvent::kLeave:
      return WorkerLeaves(link);
    case v1::WorkerEvent::kFault:
      return Apply(cluster_.Fault(link, event.fault(), now), true);
    case v1::WorkerEvent::kStepDone:
      return StepDone(link, event.step_done());
    default:
      spdlog::warn("an event out of place from a worker; ignored");
  }
}

void Engine::WorkerClosed(LinkId link) {
  ports_.erase(link);
  moves_.released.erase(link);
  if (stopped_) return;
  const std::vector<LinkId>& leaving = moves_.leaving;
  if (cluster_.phase() == ClusterPhase::kLoading &&
      std::find(leaving.begin(), leaving.end(), link) != leaving.end()) {
    // The others would wait for its lanes.
    Apply(cluster_.Move("a worker is gone that was handing its lanes over", Now()), false);
  }
  Apply(cluster_.Closed(link, Now()), /*blame_requests=*/true);
}

absl::Status Engine::PutKey(uint64_t epoch, const std::string& key, const std::string& value) {
  if (epoch != cluster_.epoch()) return absl::AbortedError("that epoch is over");
  rendezvous_[key] = value;
  return absl::OkStatus();
}

absl::StatusOr<std::string> Engine::GetKey(uint64_t epoch, const std::string& key) const {
  if (epoch != cluster_.epoch()) return absl::AbortedError("that epoch is over");
  const auto it = rendezvous_.find(key);
  if (it == rendezvous_.end()) return absl::NotFoundError("not there yet");
  return it->second;
}

void Engine::SetServing(bool serving) {
  if (serving_ == serving) return;
  serving_ = serving;
  if (on_serving_) on_serving_(serving);
}

// ---- steps ----

void Engine::MaybeStep() {
  if (cluster_.phase() != ClusterPhase::kServing) return;
  if (!steps_.open()) Send(scheduler_.Next());
  // A second one behind it: the workers need not wait until the first has been delivered.
  const bool ahead = steps_.in_flight.size() == 1 && !moves_.waiting();
  if (ahead && ProbesIn(requests_).empty()) Send(scheduler_.NextAhead());
}

void Engine::Send(std::optional<v1::Step> step) {
  if (!step) return;
  step->set_epoch(cluster_.epoch());
  const TimePoint now = Now();
  StepInFlight& sent = steps_.Add(*step, cluster_.members(), now);
  step->set_step(sent.number);
  for (const v1::BatchEntry& entry : step->entries()) {
    LiveRequest& live = requests_.at(entry.sequence_id());
    if (!live.scheduled) live.scheduled = now;
  }
  traces_.StepSent(*step, scheduler_, now);
  v1::WorkerCommand command;
  *command.mutable_step() = *std::move(step);
  cluster_.StepSent(now);
  for (LinkId link : cluster_.members()) {
    const auto port = ports_.find(link);
    if (port != ports_.end()) port->second->Send(command);
  }
}

void Engine::StepDone(LinkId link, const v1::StepDone& done) {
  StepInFlight* step = steps_.find(done.step());
  if (done.epoch() != cluster_.epoch() || step == nullptr || step->awaited.erase(link) == 0) return;
  if (Member* member = cluster_.find(link)) {
    member->cache_bytes_used = done.cache_bytes_used();
    member->compute_ms += done.compute_ms();
    member->collective_ms += done.collective_ms();
  }
  step->slowest_ms = std::max(step->slowest_ms, done.compute_ms() + done.collective_ms());
  step->least_sums_ms = std::min(step->least_sums_ms, done.collective_ms());
  for (const auto& [id, why] : TakeProbes(done, requests_)) Fail(id, why);
  if (link == cluster_.members().front()) step->leader_done = done;
  while (steps_.open() && steps_.in_flight.front().awaited.empty()) {
    const StepInFlight finished = steps_.TakeOldest(Now());
    if (!Answers(finished.leader_done, finished.sampling,
                 static_cast<uint32_t>(config_.vocab_size))) {
      v1::Fault fault;
      fault.set_epoch(cluster_.epoch());
      fault.set_message("answered another step than the one asked for");
      return Apply(cluster_.Fault(cluster_.members().front(), fault, Now()), true);
    }
    Deliver(finished.leader_done);
  }
}

void Engine::Deliver(const v1::StepDone& done) {
  const TimePoint now = Now();
  traces_.StepDone(now);
  const std::vector<uint64_t> scheduled = scheduler_.Scheduled();
  scheduler_.Finished();
  for (uint64_t id : scheduled) {
    const auto live = requests_.find(id);
    if (live != requests_.end()) live->second.ReportProgress(scheduler_.progress(id));
  }
  for (const v1::Sample& sample : done.samples()) {
    const auto live = requests_.find(sample.sequence_id());
    if (live == requests_.end()) continue;  // cancelled while the step ran
    live->second.crashes_in_a_row = 0;
    ++steps_.total_samples;
    scheduler_.Clear(sample.sequence_id());
    live->second.Deliver(sample, now);
    if (live->second.finished()) {
      Finish(sample.sequence_id());
    } else {
      scheduler_.Append(sample.sequence_id(), sample.token_id());
    }
  }
}

}  // namespace headlong
