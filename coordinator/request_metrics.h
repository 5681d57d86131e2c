// What clients see of their requests, counted and timed: Prometheus metrics with the names and
// meanings of vLLM's, prefix headlong_. Any thread.
#pragma once

#include <memory>
#include <string>

#include "coordinator/ports.h"
#include "prometheus/counter.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace headlong {

class RequestMetrics {
 public:
  // `registry` outlives this.
  explicit RequestMetrics(prometheus::Registry& registry);

  // A port that counts what passes through it to `port`. The request's time begins here.
  std::shared_ptr<ClientPort> Meter(std::shared_ptr<ClientPort> port);

 private:
  friend class MeteredPort;

  prometheus::Family<prometheus::Counter>& finished_;  // by reason
  prometheus::Family<prometheus::Counter>& rejected_;  // by status code
  prometheus::Counter& prompt_tokens_;
  prometheus::Counter& generation_tokens_;
  prometheus::Histogram& time_to_first_token_;
  prometheus::Histogram& inter_token_latency_;
  prometheus::Histogram& request_latency_;
  prometheus::Histogram& queue_time_;
  prometheus::Histogram& prefill_time_;
  prometheus::Histogram& decode_time_;
  prometheus::Histogram& request_prompt_tokens_;
  prometheus::Histogram& request_generation_tokens_;
};

}  // namespace headlong
