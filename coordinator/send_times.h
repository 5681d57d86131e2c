// How a client takes what its stream sends: counted by the stream, read by a trace. Any thread.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "coordinator/clock.h"

namespace headlong {

struct SendCounts {
  uint64_t messages = 0;  // that the transport has taken
  uint64_t waiting = 0;
  uint64_t most_waiting = 0;
  double longest_wait_ms = 0;
  std::optional<TimePoint> closed;
};

class SendTimes {
 public:
  void Queued(TimePoint now) ABSL_LOCKS_EXCLUDED(mutex_);
  // The oldest message that waits went out.
  void Sent(TimePoint now) ABSL_LOCKS_EXCLUDED(mutex_);
  // Nothing is sent any more.
  void Closed(TimePoint now) ABSL_LOCKS_EXCLUDED(mutex_);
  SendCounts counts(TimePoint now) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable absl::Mutex mutex_;
  SendCounts counts_ ABSL_GUARDED_BY(mutex_);
  std::deque<TimePoint> queued_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headlong
