#include "coordinator/send_times.h"

#include <algorithm>

namespace headlong {

void SendTimes::Queued(TimePoint now) {
  const absl::MutexLock lock(&mutex_);
  if (counts_.closed) return;
  queued_.push_back(now);
  counts_.most_waiting = std::max<uint64_t>(counts_.most_waiting, queued_.size());
}

void SendTimes::Sent(TimePoint now) {
  const absl::MutexLock lock(&mutex_);
  if (queued_.empty()) return;
  ++counts_.messages;
  counts_.longest_wait_ms = std::max(counts_.longest_wait_ms, MillisBetween(queued_.front(), now));
  queued_.pop_front();
}

void SendTimes::Closed(TimePoint now) {
  const absl::MutexLock lock(&mutex_);
  if (!counts_.closed) counts_.closed = now;
  queued_.clear();
}

SendCounts SendTimes::counts(TimePoint now) const {
  const absl::MutexLock lock(&mutex_);
  SendCounts counts = counts_;
  counts.waiting = queued_.size();
  if (!queued_.empty()) {
    counts.longest_wait_ms = std::max(counts.longest_wait_ms, MillisBetween(queued_.front(), now));
  }
  return counts;
}

}  // namespace headlong
