// The life of one request as a list of stretches, each of one kind: waiting, computed in steps,
// paused. Pure; one owner. headlong.v1.RequestTrace says what is told of it.
//
// Bounded: at most kMostSpans stretches, some 20 KiB with their reasons, and 1 KiB for the times
// of decode steps, of which only counts are kept. Where a prompt has more chunks, neighbours become
// one stretch, which counts them; where that does not help, stretches of the middle are forgotten.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/clock.h"
#include "coordinator/request.h"
#include "coordinator/wait_cause.h"
#include "headlong/v1/admin.pb.h"

namespace headlong {

// What a step computed of one sequence.
struct TracedStep {
  uint64_t epoch = 0;
  uint64_t number = 0;  // in the epoch
  int64_t tokens = 0;
  int64_t progress = 0;  // tokens computed before it,
  int64_t reaches = 0;   // and with it
  bool sample = false;
  TimePoint sent;
};

class RequestTrace {
 public:
  static constexpr size_t kMostSpans = 128;

  RequestTrace(const Request& request, TimePoint now, int64_t unix_ms);

  // It is not in the step that is sent, or in none yet.
  void Wait(const std::string& why, TimePoint now);
  void Computed(const TracedStep& step, TimePoint now);
  void Lost(const TracedStep& step, TimePoint now);
  // Its epoch is over. `why` also where it has not begun.
  void Pause(uint64_t epoch, const std::string& why, TimePoint now);
  void Resume(bool from_its_lanes, TimePoint now);
  void Preempted() { trace_.set_preemptions(trace_.preemptions() + 1); }
  void End(const std::string& how, TimePoint now);

  const std::string& request_id() const { return trace_.request_id(); }
  bool begun() const { return begun_; }  // some token of it was computed
  v1::RequestTrace Describe(TimePoint now) const;

 private:
  static constexpr int kTimeBuckets = 192;  // each a tenth longer than the one before

  double At(TimePoint time) const { return MillisBetween(received_, time); }
  v1::TraceSpan& Open(const char* kind, TimePoint now);
  void Close(TimePoint now);
  void CountDecode(const TracedStep& step, double ms);
  double DecodePercentile(double share) const;
  void Shrink();

  v1::RequestTrace trace_;  // without its spans
  std::vector<v1::TraceSpan> spans_;
  bool open_ = false;  // the last span lasts
  bool ended_ = false;
  TimePoint received_;
  std::shared_ptr<const SendTimes> sends_;
  bool begun_ = false;
  int64_t reached_ = 0;  // tokens, in whatever epoch
  double decode_ms_ = 0;
  std::array<uint32_t, kTimeBuckets> decode_times_{};
};

}  // namespace headlong
