#include "cli/supervisor.h"

#include <poll.h>
#include <signal.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace headlong {
namespace {

constexpr std::chrono::milliseconds kTick{20};
constexpr std::chrono::milliseconds kFrozenLookEvery{250};

std::chrono::milliseconds MillisSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                               start);
}

}  // namespace

Supervisor::Supervisor(SupervisorOptions options) : options_(std::move(options)) {
  const Clock::time_point now = Clock::now();
  for (const SupervisedCommand& command : options_.commands) {
    children_.emplace_back();
    children_.back().command = command;
    children_.back().start_at = now;
  }
  next_frozen_look_ = now;
  Publish();
  thread_ = std::thread([this] { Run(); });
}

void Supervisor::Stop(std::chrono::milliseconds grace) {
  stopping_ = true;
  const Clock::time_point deadline = Clock::now() + grace;
  while (!finished_ && Clock::now() < deadline) std::this_thread::sleep_for(kTick);
  kill_now_ = true;
  if (thread_.joinable()) thread_.join();
}

std::vector<ChildState> Supervisor::children() const {
  const std::lock_guard lock(mutex_);
  return states_;
}

void Supervisor::Run() {
  while (true) {
    if (!stopping_) StartDue();
    WaitForOutput();
    ReapDead();
    if (stopping_) {
      EndAll();
    } else {
      KillFrozen();
    }
    Publish();
    if (stopping_ && !AnyRunning()) break;
  }
  finished_ = true;
}

void Supervisor::StartDue() {
  for (Child& child : children_) {
    if (child.process || child.ended || Clock::now() < child.start_at) continue;
    ++child.starts;
    absl::StatusOr<ChildProcess> process = ChildProcess::Spawn(child.command.argv);
    if (process.ok()) {
      child.process.emplace(*std::move(process));
      continue;
    }
    child.ended = true;
    child.given_up = std::string(process.status().message());
    options_.note(absl::StrCat("worker ", child.command.id, ": ", child.given_up));
  }
}

void Supervisor::WaitForOutput() {
  std::vector<pollfd> fds;
  for (const Child& child : children_) {
    if (child.process && child.process->output_fd() >= 0) {
      fds.push_back({child.process->output_fd(), POLLIN, 0});
    }
  }
  poll(fds.data(), fds.size(), static_cast<int>(kTick.count()));
  for (Child& child : children_) {
    if (!child.process) continue;
    child.process->ReadOutput(
        [&](const std::string& line) { options_.child_output(child.command.id, line); });
  }
}

void Supervisor::ReapDead() {
  for (Child& child : children_) {
    if (!child.process) continue;
    const std::optional<int> status = child.process->Reap(
        [&](const std::string& line) { options_.child_output(child.command.id, line); });
    if (status) OnDeath(child, *status);
  }
}

void Supervisor::OnDeath(Child& child, int wait_status) {
  const std::chrono::milliseconds lived = MillisSince(child.process->started());
  const std::string last_words =
      child.process->last_lines().empty() ? "" : child.process->last_lines().back();
  child.process.reset();
  child.seen_frozen = false;
  if (stopping_ || (draining_ && wait_status == 0)) {
    child.ended = true;
    return;
  }
  const std::string death =
      absl::StrCat("worker ", child.command.id, " ", DescribeDeath(wait_status));
  const std::optional<std::chrono::milliseconds> wait = child.policy.OnDeath(lived);
  if (wait) {
    child.start_at = Clock::now() + *wait;
    options_.note(absl::StrCat(
        death, wait->count() == 0 ? "; starting it again"
                                  : absl::StrCat("; starting it again in ", wait->count(), " ms")));
    return;
  }
  child.ended = true;
  child.given_up =
      absl::StrCat(DescribeDeath(wait_status), " ", RestartPolicy::kDelays.size() + 1,
                   " times, soon after each start", last_words.empty() ? "" : ": ", last_words);
  options_.note(
      absl::StrCat("worker ", child.command.id, " ", child.given_up, "; going on without it"));
}

void Supervisor::KillFrozen() {
  if (!options_.frozen_pids || Clock::now() < next_frozen_look_) return;
  next_frozen_look_ = Clock::now() + kFrozenLookEvery;
  const std::set<int64_t> frozen = options_.frozen_pids();
  for (Child& child : children_) {
    const bool is_frozen = child.process && frozen.contains(child.process->pid());
    if (is_frozen && child.seen_frozen) {
      options_.note(absl::StrCat("worker ", child.command.id, " (pid ", child.process->pid(),
                                 ") does not answer any more; killing it"));
      child.process->Signal(SIGKILL);
    }
    child.seen_frozen = is_frozen;
  }
}

void Supervisor::EndAll() {
  const bool kill_now = kill_now_;
  if (asked_to_end_ && !kill_now) return;
  asked_to_end_ = true;
  for (Child& child : children_) {
    if (child.process) child.process->Signal(kill_now ? SIGKILL : SIGTERM);
  }
}

void Supervisor::Publish() {
  std::vector<ChildState> states;
  for (const Child& child : children_) {
    states.push_back(
        {child.command.id, child.process ? child.process->pid() : 0, child.starts, child.given_up});
  }
  const std::lock_guard lock(mutex_);
  states_ = std::move(states);
}

bool Supervisor::AnyRunning() const {
  return std::any_of(children_.begin(), children_.end(),
                     [](const Child& child) { return child.process.has_value(); });
}

}  // namespace headlong
