// How other threads reach the engine thread: closures, run in order of arrival. Any thread may
// post; one thread runs them.
#pragma once

#include <deque>
#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace headlong {

class Mailbox {
 public:
  void Post(std::function<void()> call) {
    const absl::MutexLock lock(&mutex_);
    calls_.push_back(std::move(call));
  }

  // Runs what is there; waits up to `timeout` for the first call.
  void Run(absl::Duration timeout) {
    std::deque<std::function<void()>> calls;
    {
      const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !calls_.empty(); };
      const absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(&ready), timeout);
      calls.swap(calls_);
    }
    for (const auto& call : calls) call();
  }

 private:
  absl::Mutex mutex_;
  std::deque<std::function<void()>> calls_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headlong
