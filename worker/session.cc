#include "worker/session.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>
#include <utility>

#include "common/status.h"
#include "worker/worker_metrics.h"

namespace headlong {
namespace {

constexpr std::chrono::seconds kStuckAfter{2};
constexpr std::chrono::seconds kStallAfter{10};
constexpr int kStuckExitCode = 75;  // EX_TEMPFAIL: start me again

}  // namespace

void CommandQueue::Push(v1::WorkerCommand command) {
  const absl::MutexLock lock(&mutex_);
  commands_.push_back(std::move(command));
}

void CommandQueue::Close() {
  const absl::MutexLock lock(&mutex_);
  closed_ = true;
  std::erase_if(commands_, [](const auto& command) { return !command.has_shutdown(); });
}

bool CommandQueue::closed() const {
  const absl::MutexLock lock(&mutex_);
  return closed_;
}

std::optional<v1::WorkerCommand> CommandQueue::Pop() {
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return closed_ || !commands_.empty();
  };
  const absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&ready));
  if (commands_.empty()) return std::nullopt;
  v1::WorkerCommand command = std::move(commands_.front());
  commands_.pop_front();
  return command;
}

Session::Session(CoordinatorLink& link, const EpochResources& resources,
                 const std::atomic<bool>& stop)
    : link_(link),
      resources_(resources),
      stop_(stop),
      rendezvous_(link.stub(), newest_epoch_),
      moved_at_(std::chrono::steady_clock::now()),
      wanted_at_(moved_at_) {
  resources_.rendezvous = &rendezvous_;
}

Session::End Session::Run(std::chrono::milliseconds heartbeat_interval,
                          std::chrono::milliseconds drain) {
  std::thread reader([this] { ReadCommands(); });
  std::thread beat([this, heartbeat_interval, drain] { Beat(heartbeat_interval, drain); });
  End end = End::kDisconnected;
  while (std::optional<v1::WorkerCommand> command = queue_.Pop()) {
    if (command->has_shutdown()) {
      spdlog::info("the coordinator says stop: {}", command->shutdown().reason());
      end = End::kShutdown;
      break;
    }
    if (command->has_configure()) Configure(command->configure());
    if (command->has_hand_over()) HandOver(command->hand_over());
    if (command->has_step()) RunStep(command->step());
  }
  ended_ = true;
  link_.Cancel();
  reader.join();
  beat.join();
  EndEpoch();
  if (resources_.on_ready) resources_.on_ready(false);
  if (end == End::kDisconnected && stop_) end = End::kStopped;
  return end;
}

void Session::ReadCommands() {
  v1::WorkerCommand command;
  while (link_.Receive(command)) {
    if (command.has_configure()) newest_epoch_ = command.configure().epoch();
    if (command.has_hand_over()) newest_epoch_ = command.hand_over().to().epoch();
    queue_.Push(std::move(command));
    command.Clear();
  }
  const absl::Status status = link_.Finish();
  if (!ended_ && !stop_) spdlog::warn("stream to the coordinator closed: {}", status.ToString());
  queue_.Close();
}

void Session::Beat(std::chrono::milliseconds interval, std::chrono::milliseconds drain) {
  while (!ended_) {
    v1::WorkerEvent event;
    v1::Heartbeat& beat = *event.mutable_heartbeat();
    beat.set_epoch(current_epoch_);
    beat.set_step(current_step_);
    beat.set_progress(resources_.progress->load());
    link_.Send(event);
    EndIfStuck();
    ReportReady();
    if (stop_) Leave(drain);
    std::this_thread::sleep_for(interval);
  }
}

void Session::Leave(std::chrono::milliseconds patience) {
  const auto now = std::chrono::steady_clock::now();
  if (!leaving_since_) {
    spdlog::info("told to end: waits until the others go on without this worker");
    v1::WorkerEvent event;
    event.mutable_leave();
    link_.Send(event);
    leaving_since_ = now;
  }
  if (now - *leaving_since_ < patience) return;
  if (patience.count() > 0) spdlog::warn("nobody let it go within {} ms", patience.count());
  link_.Cancel();
}

void Session::EndIfStuck() {
  const auto now = std::chrono::steady_clock::now();
  const uint64_t progress = resources_.progress->load();
  if (!busy_ || progress != seen_progress_) {
    seen_progress_ = progress;
    moved_at_ = now;
  }
  const bool unwanted = newest_epoch_ > current_epoch_ || queue_.closed();
  if (!unwanted) wanted_at_ = now;
  if (now - std::max(moved_at_, wanted_at_) < kStuckAfter) return;
  spdlog::error("stuck in epoch {} while epoch {} waits: ending, to be started again",
                current_epoch_.load(), newest_epoch_.load());
  spdlog::shutdown();
  _exit(kStuckExitCode);
}

// A step that does not get on is not one that is being computed: kept from new work until it is.
void Session::ReportReady() {
  if (!resources_.on_ready) return;
  const bool stalled = busy_ && std::chrono::steady_clock::now() - moved_at_ > kStallAfter;
  resources_.on_ready(serving_ && !queue_.closed() && !stalled);
}

bool Session::Enter(uint64_t epoch) {
  if (epoch < newest_epoch_) return false;
  serving_ = false;
  current_epoch_ = epoch;
  current_step_ = 0;
  rendezvous_.set_epoch(epoch);
  return true;
}

absl::StatusOr<std::unique_ptr<LaneTransfer>> Session::Transfer(const v1::Configure& configure,
                                                                int rank) {
  const auto begin = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(auto transfer, LaneTransfer::Create(configure, rank, *resources_.config,
                                                       resources_.checkpoint->fingerprint()));
  if (epoch_ != nullptr && epoch_->number() == configure.transfer().from_epoch()) {
    const absl::Status packed =
        transfer->Pack(epoch_->tables(), resources_.device->backend(), *resources_.progress);
    if (!packed.ok())
      spdlog::warn("epoch {}: no transfer: {}", configure.epoch(), packed.ToString());
  }
  epoch_.reset();
  ASSIGN_OR_RETURN(const bool moved,
                   transfer->Exchange(resources_.host, rendezvous_, *resources_.progress));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  spdlog::info("epoch {}: {} lanes of {} sequences: {} bytes sent, {} received in {:.3f} s",
               configure.epoch(), moved ? "moved" : "did not move",
               configure.transfer().sequences_size(), moved ? transfer->bytes_sent() : 0,
               moved ? transfer->bytes_received() : 0, seconds.count());
  if (moved && resources_.metrics != nullptr) {
    resources_.metrics->Moved(transfer->bytes_sent(), transfer->bytes_received());
  }
  if (!moved) transfer.reset();
  return transfer;
}

void Session::HandOver(const v1::HandOver& hand_over) {
  const v1::Configure& to = hand_over.to();
  if (!Enter(to.epoch())) return;
  spdlog::info("epoch {}: hands its lanes over", to.epoch());
  busy_ = true;
  const absl::Status handed = Transfer(to, static_cast<int>(hand_over.rank())).status();
  busy_ = false;
  EndEpoch();
  if (!handed.ok()) spdlog::error("epoch {}: {}", to.epoch(), handed.ToString());
}

absl::Status Session::Begin(const v1::Configure& configure, bool& lanes_kept) {
  std::unique_ptr<LaneTransfer> transfer;
  const bool placed =
      configure.rank() < static_cast<uint32_t>(configure.placement().workers_size());
  if (configure.has_transfer() && placed) {  // Epoch::Begin refuses another rank
    const auto& workers = configure.transfer().workers();
    const std::string& id = configure.placement().workers(configure.rank()).worker_id();
    const auto rank = std::find(workers.begin(), workers.end(), id) - workers.begin();
    ASSIGN_OR_RETURN(transfer, Transfer(configure, static_cast<int>(rank)));
  }
  epoch_.reset();
  ASSIGN_OR_RETURN(auto epoch,
                   Epoch::Begin(configure, resources_, [&](int64_t done, int64_t total) {
                     resources_.progress->fetch_add(1);
                     v1::WorkerEvent event;
                     v1::LoadProgress& load = *event.mutable_load_progress();
                     load.set_epoch(configure.epoch());
                     load.set_bytes_done(done);
                     load.set_bytes_total(total);
                     link_.Send(event);
                   }));
  if (transfer != nullptr) RETURN_IF_ERROR(epoch->Adopt(*transfer));
  lanes_kept = transfer != nullptr;
  epoch_ = std::move(epoch);
  return absl::OkStatus();
}

void Session::Configure(const v1::Configure& configure) {
  if (!Enter(configure.epoch())) return;
  spdlog::info("epoch {}: rank {} of {}", configure.epoch(), configure.rank(),
               configure.placement().workers_size());
  bool lanes_kept = false;
  busy_ = true;
  const absl::Status begun = Begin(configure, lanes_kept);
  busy_ = false;
  v1::WorkerEvent event;
  v1::ConfigureDone& done = *event.mutable_configure_done();
  done.set_epoch(configure.epoch());
  done.set_lanes_kept(lanes_kept);
  if (resources_.metrics != nullptr) {
    resources_.metrics->Holds(epoch_.get(), resources_.device->weights().bytes());
  }
  if (begun.ok()) {
    serving_ = true;
    done.set_sum_latency_s(epoch_->sums().latency_s);
    done.set_sum_bytes_per_s(epoch_->sums().bytes_per_s);
    if (epoch_->shared() && !resources_.states_speeds) *done.mutable_shared() = *epoch_->shared();
  } else {
    spdlog::error("epoch {}: {}", configure.epoch(), begun.ToString());
    if (resources_.metrics != nullptr) resources_.metrics->Failed(begun);
    done.set_code(static_cast<int>(begun.code()));
    done.set_message(std::string(begun.message()));
  }
  link_.Send(event);
}

void Session::EndEpoch() {
  epoch_.reset();
  if (resources_.metrics != nullptr) {
    resources_.metrics->Holds(nullptr, resources_.device->weights().bytes());
  }
}

void Session::RunStep(const v1::Step& step) {
  // What was sent ahead is not begun where an epoch without it has been.
  if (epoch_ == nullptr || step.epoch() != epoch_->number() || step.epoch() < newest_epoch_) return;
  current_step_ = step.step();
  busy_ = true;
  absl::StatusOr<v1::StepDone> done = epoch_->Run(step);
  busy_ = false;
  if (!done.ok()) {
    spdlog::error("epoch {} step {}: {}", step.epoch(), step.step(), done.status().ToString());
    serving_ = false;
    EndEpoch();
    if (resources_.metrics != nullptr) resources_.metrics->Failed(done.status());
    SendFault(step.epoch(), done.status());
    return;
  }
  if (resources_.metrics != nullptr) resources_.metrics->Stepped(*epoch_, step, *done);
  v1::WorkerEvent event;
  *event.mutable_step_done() = *std::move(done);
  link_.Send(event);
}

void Session::SendFault(uint64_t epoch, const absl::Status& status) {
  v1::WorkerEvent event;
  v1::Fault& fault = *event.mutable_fault();
  fault.set_epoch(epoch);
  fault.set_code(static_cast<int>(status.code()));
  fault.set_message(std::string(status.message()));
  link_.Send(event);
}

}  // namespace headlong
