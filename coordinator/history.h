// What became of the last epochs, and who was not let in: for operators who come later and ask why.
// Bounded. Time is an argument. One owner (the engine thread).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>

#include "coordinator/clock.h"
#include "headlong/v1/admin.pb.h"
#include "headlong/v1/worker.pb.h"

namespace headlong {

class History {
 public:
  static constexpr size_t kMaxEpochs = 64;
  static constexpr size_t kMaxRefused = 32;

  explicit History(TimePoint started) : started_(started) {}

  // An epoch begins, for `reason`, with this placement. `unix_ms` is for people; spans are counted
  // from `now`.
  void Began(const v1::Placement& placement, const std::string& reason, int64_t unix_ms,
             TimePoint now);
  // It could not, for `refusal`. The same one again and again is one entry.
  void CouldNotBegin(uint64_t epoch, const std::string& reason, const std::string& refusal,
                     int64_t unix_ms);
  void Serves(uint64_t sequences_moved, uint64_t sequences_replayed, TimePoint now);
  void Ended(const std::string& reason);
  void WorkerRefused(const v1::Register& registration, const std::string& reason, TimePoint now);
  // It came in after all: what it was refused for is past.
  void WorkerAccepted(const std::string& worker_id) { refused_.erase(worker_id); }

  void Describe(v1::ListEpochsResponse& out) const;
  void Describe(TimePoint now, v1::ListWorkersResponse& out) const;
  double uptime_s(TimePoint now) const { return MillisBetween(started_, now) / 1e3; }

 private:
  struct Refused {
    v1::RefusedWorker worker;
    TimePoint at;
  };

  v1::Epoch& Next(uint64_t epoch, const std::string& reason, int64_t unix_ms);

  const TimePoint started_;
  TimePoint began_;
  v1::Placement last_;  // of the last epoch that began
  std::deque<v1::Epoch> epochs_;
  std::map<std::string, Refused> refused_;  // by id
};

}  // namespace headlong
