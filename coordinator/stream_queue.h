// The outgoing half of a server stream under gRPC's callback API: messages queue up, one write is
// in flight, the end comes after the last of them. Sends may come from any thread. The reactor owns
// the calls to gRPC; once it is done, sends are dropped.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "common/grpc_status.h"
#include "grpcpp/grpcpp.h"

namespace headlong {

// `Reactor` is a ServerWriteReactor or ServerBidiReactor that writes `Message`, and has an
// End(status) that calls Finish.
template <typename Reactor, typename Message>
class StreamQueue {
 public:
  explicit StreamQueue(Reactor* reactor) : reactor_(reactor) {}

  void Send(Message message) {
    const absl::MutexLock lock(&mutex_);
    if (reactor_ == nullptr || end_) return;
    messages_.push_back(std::move(message));
    WriteNext();
  }

  // Ends the stream after what is queued. Only the first call counts.
  void End(const absl::Status& status) {
    const absl::MutexLock lock(&mutex_);
    if (reactor_ == nullptr || end_) return;
    end_ = status;
    FinishWhenEmpty();
  }

  // The peer takes nothing more: drops what is queued and ends.
  void Abandon(const absl::Status& status) {
    const absl::MutexLock lock(&mutex_);
    if (reactor_ == nullptr) return;
    if (!end_) end_ = status;
    while (messages_.size() > (writing_ ? 1u : 0u)) messages_.pop_back();
    FinishWhenEmpty();
  }

  // From the reactor's OnWriteDone.
  void Written(bool ok) {
    const absl::MutexLock lock(&mutex_);
    writing_ = false;
    messages_.pop_front();
    if (!ok) messages_.clear();
    WriteNext();
    FinishWhenEmpty();
  }

  // From the reactor's OnDone.
  void Detach() {
    const absl::MutexLock lock(&mutex_);
    reactor_ = nullptr;
  }

  bool writing() const {
    const absl::MutexLock lock(&mutex_);
    return writing_;
  }

 private:
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || messages_.empty() || finished_) return;
    writing_ = true;
    reactor_->StartWrite(&messages_.front());
  }

  void FinishWhenEmpty() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!end_ || writing_ || !messages_.empty() || finished_) return;
    finished_ = true;
    reactor_->End(*end_);
  }

  mutable absl::Mutex mutex_;
  Reactor* reactor_ ABSL_GUARDED_BY(mutex_);
  std::deque<Message> messages_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace headlong
