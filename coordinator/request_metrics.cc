#include "coordinator/request_metrics.h"

#include <chrono>
#include <utility>

#include "coordinator/clock.h"

namespace headlong {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

// vLLM's for the time to the first token; prefills of long contexts take minutes.
const Buckets kWaits = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                        1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
const Buckets kGaps = {.0005, .001, .0025, .005, .01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 10};
const Buckets kTokens = {1, 8, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304};

prometheus::Counter& Count(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
}

prometheus::Histogram& Distribution(prometheus::Registry& registry, const char* name,
                                    const char* help, const Buckets& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

}  // namespace

// Called by whoever calls a ClientPort: one thread at a time.
class MeteredPort final : public ClientPort {
 public:
  MeteredPort(RequestMetrics* metrics, std::shared_ptr<ClientPort> port)
      : metrics_(*metrics), port_(std::move(port)), begin_(Now()), last_(begin_) {}

  void Accepted(int64_t prompt_tokens, uint64_t seed) override {
    accepted_ = true;
    port_->Accepted(prompt_tokens, seed);
  }
  void Progress(int64_t prefilled, int64_t prompt_tokens) override {
    port_->Progress(prefilled, prompt_tokens);
  }
  void Token(const DeliveredToken& token) override {
    const TimePoint now = Now();
    if (first_) {
      metrics_.time_to_first_token_.Observe(MillisBetween(begin_, now) / 1e3);
    } else {
      metrics_.inter_token_latency_.Observe(MillisBetween(last_, now) / 1e3);
    }
    first_ = false;
    last_ = now;
    metrics_.generation_tokens_.Increment();
    port_->Token(token);
  }
  void Finished(const FinishedRequest& finished) override {
    metrics_.finished_.Add({{"reason", FinishReasonName(finished.reason)}}).Increment();
    metrics_.prompt_tokens_.Increment(static_cast<double>(finished.prompt_tokens));
    metrics_.request_prompt_tokens_.Observe(static_cast<double>(finished.prompt_tokens));
    metrics_.request_generation_tokens_.Observe(static_cast<double>(finished.completion_tokens));
    metrics_.queue_time_.Observe(finished.queue_ms / 1e3);
    metrics_.prefill_time_.Observe(finished.prefill_ms / 1e3);
    metrics_.decode_time_.Observe(finished.decode_ms / 1e3);
    metrics_.request_latency_.Observe(finished.total_ms / 1e3);
    port_->Finished(finished);
  }
  void Failed(const absl::Status& status) override {
    if (accepted_) {
      metrics_.finished_.Add({{"reason", "error"}}).Increment();
    } else {
      metrics_.rejected_.Add({{"code", absl::StatusCodeToString(status.code())}}).Increment();
    }
    port_->Failed(status);
  }

 private:
  static TimePoint Now() { return std::chrono::steady_clock::now(); }

  RequestMetrics& metrics_;
  const std::shared_ptr<ClientPort> port_;
  const TimePoint begin_;
  TimePoint last_;
  bool accepted_ = false;
  bool first_ = true;
};

RequestMetrics::RequestMetrics(prometheus::Registry& registry)
    : finished_(prometheus::BuildCounter()
                    .Name("headlong_requests_finished_total")
                    .Help("Requests that ended, by reason: stop, length, cancelled or error")
                    .Register(registry)),
      rejected_(prometheus::BuildCounter()
                    .Name("headlong_requests_rejected_total")
                    .Help("Requests refused before they were queued, by status code")
                    .Register(registry)),
      prompt_tokens_(
          Count(registry, "headlong_prompt_tokens_total", "Prompt tokens of finished requests")),
      generation_tokens_(
          Count(registry, "headlong_generation_tokens_total", "Tokens delivered to clients")),
      time_to_first_token_(Distribution(registry, "headlong_time_to_first_token_seconds",
                                        "From a request's arrival to its first token", kWaits)),
      inter_token_latency_(Distribution(registry, "headlong_inter_token_latency_seconds",
                                        "Between two tokens of a stream", kGaps)),
      request_latency_(Distribution(registry, "headlong_e2e_request_latency_seconds",
                                    "From a request's arrival to its end", kWaits)),
      queue_time_(Distribution(registry, "headlong_request_queue_time_seconds",
                               "From a request's arrival to its first step", kWaits)),
      prefill_time_(Distribution(registry, "headlong_request_prefill_time_seconds",
                                 "From a request's first step to its first token", kWaits)),
      decode_time_(Distribution(registry, "headlong_request_decode_time_seconds",
                                "From a request's first token to its last", kWaits)),
      request_prompt_tokens_(Distribution(registry, "headlong_request_prompt_tokens",
                                          "Prompt tokens of a request", kTokens)),
      request_generation_tokens_(Distribution(registry, "headlong_request_generation_tokens",
                                              "Tokens generated for a request", kTokens)) {
  for (const char* reason : {"stop", "length", "cancelled", "error"}) {
    finished_.Add({{"reason", reason}});  // a rate needs a series that begins at 0
  }
  rejected_.Add({{"code", "RESOURCE_EXHAUSTED"}});
}

std::shared_ptr<ClientPort> RequestMetrics::Meter(std::shared_ptr<ClientPort> port) {
  return std::make_shared<MeteredPort>(this, std::move(port));
}

}  // namespace headlong
