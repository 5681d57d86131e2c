// One request between its door and its end: the token log, what the client was given, and its
// times. A value owned by the engine thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "cache/plan.h"
#include "coordinator/clock.h"
#include "coordinator/delivery.h"
#include "coordinator/ports.h"
#include "coordinator/request.h"
#include "headlong/v1/worker.pb.h"
#include "model/config.h"

namespace headlong {

struct LiveRequest {
  LiveRequest(Request request, const ModelConfig& config, const Tokenizer* tokenizer,
              std::shared_ptr<ClientPort> client, TimePoint now);

  // A sampled token: logged, delivered. finished() tells whether it was the last.
  void Deliver(const v1::Sample& sample, TimePoint now);
  // Tells a client that wants to know how far its prompt is.
  void ReportProgress(int64_t computed);
  std::optional<FinishReason> finished() const { return delivery.finished(); }
  // Adds what a worker measured of a step.
  void TakeProbe(const v1::ProbeResult& result);
  FinishedRequest Summary(const Plan& plan, const ModelConfig& config, int element_bytes,
                          TimePoint now);
  int64_t CacheBytes(const Plan& plan, const ModelConfig& config, int element_bytes,
                     int64_t computed) const;

  Request request;
  std::shared_ptr<ClientPort> client;
  Delivery delivery;
  TimePoint submitted;
  std::optional<TimePoint> scheduled;
  std::optional<TimePoint> first_token;
  TimePoint last_token;
  std::optional<std::chrono::system_clock::time_point> deadline;
  int crashes_in_a_row = 0;  // of steps that held this request
  v1::ProbeResult probed;    // so far, where it is a probe
};

// What the workers need to know to sample for a request.
v1::SamplingParams ToWire(const Sampling& sampling);

}  // namespace headlong
