// Keeps the worker processes of one machine running: starts them, starts the dead ones again, kills
// the frozen ones, and ends them all. One thread of its own starts every child: the kernel's
// parent-death signal follows the thread that made a child, so that thread outlives them all.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "cli/child_process.h"
#include "cli/restart_policy.h"

namespace headlong {

struct SupervisedCommand {
  std::string id;
  std::vector<std::string> argv;
};

struct SupervisorOptions {
  std::vector<SupervisedCommand> commands;
  // What the supervisor does, and what the children write. Called on its thread.
  std::function<void(const std::string& line)> note;
  std::function<void(const std::string& id, const std::string& line)> child_output;
  // Processes that others have given up although they exist; a child seen here twice in a row is
  // killed. Asked on the supervisor's thread.
  std::function<std::set<int64_t>()> frozen_pids;
};

struct ChildState {
  std::string id;
  int64_t pid = 0;  // 0: not running now
  int starts = 0;
  std::string given_up;  // why it is not started any more; empty while it is
};

class Supervisor {
 public:
  explicit Supervisor(SupervisorOptions options);
  ~Supervisor() { Stop(std::chrono::milliseconds(0)); }
  Supervisor(const Supervisor&) = delete;

  // From now on a child that ends with code 0 is done.
  void Drain() { draining_ = true; }
  // Starts nothing any more, waits up to `grace` for the children to end, kills the rest.
  // Idempotent.
  void Stop(std::chrono::milliseconds grace);

  std::vector<ChildState> children() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Clock = std::chrono::steady_clock;
  struct Child {
    SupervisedCommand command;
    std::optional<ChildProcess> process;
    RestartPolicy policy;
    Clock::time_point start_at;
    bool ended = false;        // not started again
    bool seen_frozen = false;  // at the last look
    int starts = 0;
    std::string given_up;
  };

  void Run();
  void StartDue();
  void WaitForOutput();
  void ReapDead();
  void OnDeath(Child& child, int wait_status);
  void KillFrozen();
  void EndAll();
  void Publish() ABSL_LOCKS_EXCLUDED(mutex_);
  bool AnyRunning() const;

  const SupervisorOptions options_;
  std::vector<Child> children_;         // supervisor thread
  Clock::time_point next_frozen_look_;  // supervisor thread
  bool asked_to_end_ = false;           // supervisor thread
  std::atomic<bool> draining_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> kill_now_{false};
  mutable std::mutex mutex_;
  std::vector<ChildState> states_ ABSL_GUARDED_BY(mutex_);
  std::atomic<bool> finished_{false};
  std::thread thread_;
};

}  // namespace headlong
