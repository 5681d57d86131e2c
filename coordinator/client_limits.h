// What holders of access tokens have in flight and have used lately, held against the limits of
// their tokens. Time is an argument; any thread.
//
// Tokens per second are those of prompts and answers, counted as they come: whoever used more than
// the rate allows for kRateWindow waits until that has drained away. A request that runs is not
// slowed down.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "coordinator/caller.h"
#include "coordinator/clock.h"
#include "coordinator/ports.h"

namespace headlong {

class ClientLimits {
 public:
  static constexpr std::chrono::seconds kRateWindow{10};
  static constexpr std::chrono::milliseconds kRetryAfter{1000};  // where no time is known

  // A request begins, before anything is made of it. RESOURCE_EXHAUSTED with a retry hint when it
  // is one too many. After OK, End.
  absl::Status Begin(const Caller& caller, TimePoint now) ABSL_LOCKS_EXCLUDED(mutex_);
  void End(const Caller& caller) ABSL_LOCKS_EXCLUDED(mutex_);
  // RESOURCE_EXHAUSTED with a retry hint where the rate is used up.
  absl::Status CheckRate(const Caller& caller, TimePoint now) ABSL_LOCKS_EXCLUDED(mutex_);
  void Charge(const Caller& caller, int64_t tokens, TimePoint now) ABSL_LOCKS_EXCLUDED(mutex_);

  // A port that charges what passes through it to `port`, and ends the request when that ends or is
  // forgotten. REQUIRES: Begin was OK; the limits outlive the port.
  std::shared_ptr<ClientPort> Count(const Caller& caller, std::shared_ptr<ClientPort> port);

 private:
  struct Use {
    int64_t in_flight = 0;
    double used = 0;  // tokens that have not drained away yet, at `counted`
    TimePoint counted;
  };
  void Drain(const Caller& caller, Use& use, TimePoint now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status RateOf(const Caller& caller, TimePoint now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  std::map<std::string, Use> uses_ ABSL_GUARDED_BY(mutex_);  // by name: as many as the file has
};

}  // namespace headlong
