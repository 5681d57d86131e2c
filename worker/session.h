// One connection to a coordinator, from registration to the end of the stream. Three threads: the
// caller computes (steps and epochs), one reads commands into a queue, one beats. The weights and
// the backend belong to the caller and outlive the session.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "headlong/v1/worker.pb.h"
#include "worker/epoch.h"
#include "worker/link.h"

namespace headlong {

// Commands between the reader and the step thread.
class CommandQueue {
 public:
  void Push(v1::WorkerCommand command);
  // Drops what is queued but a Shutdown: nobody waits for the rest any more.
  void Close();
  bool closed() const;
  // Waits; nullopt once closed and empty.
  std::optional<v1::WorkerCommand> Pop();

 private:
  mutable absl::Mutex mutex_;
  std::deque<v1::WorkerCommand> commands_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

class Session {
 public:
  enum class End { kDisconnected, kShutdown, kStopped };

  // `resources.rendezvous` is set by the session. All arguments outlive it.
  Session(CoordinatorLink& link, const EpochResources& resources, const std::atomic<bool>& stop);

  // REQUIRES: registered. Serves until the stream closes or a Shutdown comes. Once `stop` is set it
  // asks for one and waits for it, up to `drain`.
  End Run(std::chrono::milliseconds heartbeat_interval, std::chrono::milliseconds drain);

 private:
  void ReadCommands();
  void Beat(std::chrono::milliseconds interval, std::chrono::milliseconds drain);
  void Leave(std::chrono::milliseconds patience);
  void EndEpoch();
  // Ends the process when the step thread hangs in a collective that no peer will finish: Gloo
  // cannot be interrupted. Whoever supervises starts the worker anew.
  void EndIfStuck();
  void ReportReady();
  // False: a newer epoch is queued behind it.
  bool Enter(uint64_t epoch);
  void Configure(const v1::Configure& configure);
  absl::Status Begin(const v1::Configure& configure, bool& lanes_kept);
  void HandOver(const v1::HandOver& hand_over);
  // Ends the epoch; its lanes are on their way or with their new owners. Null where some worker
  // could not take part: nothing was sent.
  absl::StatusOr<std::unique_ptr<LaneTransfer>> Transfer(const v1::Configure& configure, int rank);
  void RunStep(const v1::Step& step);
  void SendFault(uint64_t epoch, const absl::Status& status);

  CoordinatorLink& link_;
  EpochResources resources_;
  const std::atomic<bool>& stop_;
  LinkRendezvous rendezvous_;
  CommandQueue queue_;
  std::unique_ptr<Epoch> epoch_;            // step thread only
  std::atomic<uint64_t> newest_epoch_{0};   // of the last Configure received
  std::atomic<uint64_t> current_epoch_{0};  // the step thread works in this one
  std::atomic<uint64_t> current_step_{0};
  std::atomic<bool> serving_{false};  // an epoch is ready for steps
  std::atomic<bool> busy_{false};     // the step thread is inside an epoch's work
  std::atomic<bool> ended_{false};

  // Beat thread only: what EndIfStuck saw last, and when it asked to leave.
  uint64_t seen_progress_ = 0;
  std::chrono::steady_clock::time_point moved_at_;   // it got on, or had nothing to do
  std::chrono::steady_clock::time_point wanted_at_;  // somebody waits for what it does
  std::optional<std::chrono::steady_clock::time_point> leaving_since_;
};

}  // namespace headlong
