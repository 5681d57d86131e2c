#include "worker/worker_metrics.h"

#include <utility>

#include "common/metrics_port.h"
#include "common/status.h"

namespace headlong {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

const Buckets kStepSeconds = {.0001, .00025, .0005, .001, .0025, .005, .01, .02,
                              .04,   .08,    .16,   .32,  .64,   1.28, 2.56};
const Buckets kStepTokens = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};

constexpr absl::StatusCode kFaults[] = {
    absl::StatusCode::kUnavailable, absl::StatusCode::kResourceExhausted,
    absl::StatusCode::kDeadlineExceeded, absl::StatusCode::kInternal};

}  // namespace

absl::StatusOr<std::unique_ptr<WorkerMetrics>> WorkerMetrics::Start(const std::string& address,
                                                                    const std::string& worker_id,
                                                                    const TlsFiles& tls) {
  std::unique_ptr<WorkerMetrics> metrics(new WorkerMetrics(worker_id, tls));
  ASSIGN_OR_RETURN(metrics->exposer_, ListenForMetrics(address));
  metrics->exposer_->RegisterCollectable(metrics->registry_);
  metrics->exposer_->RegisterCollectable(metrics->certificates_);
  return metrics;
}

WorkerMetrics::WorkerMetrics(const std::string& worker_id, const TlsFiles& tls)
    : worker_({{"worker", worker_id}}),
      registry_(std::make_shared<prometheus::Registry>()),
      certificates_(std::make_shared<CertificateExpiry>(
          tls, CertificateExpiry::Labels{{"worker", worker_id}})),
      epoch_(AddGauge("headlong_worker_epoch", "The epoch whose steps it computes; 0: none")),
      weights_bytes_(AddGauge("headlong_model_weights_bytes", "Its share of the model's weights")),
      retrieval_(AddCaches("retrieval")),
      local_(AddCaches("local")),
      compute_seconds_(AddTimes("headlong_worker_step_seconds",
                                "A step, by phase: compute, or collective (sums over workers)",
                                {{"phase", "compute"}})),
      collective_seconds_(AddTimes("headlong_worker_step_seconds",
                                   "A step, by phase: compute, or collective (sums over workers)",
                                   {{"phase", "collective"}})),
      step_tokens_(prometheus::BuildHistogram()
                       .Name("headlong_iteration_tokens")
                       .Help("Tokens computed in one step")
                       .Labels(worker_)
                       .Register(*registry_)
                       .Add({}, kStepTokens)),
      sum_latency_(AddGauge("headlong_sum_latency_seconds",
                            "A sum of few numbers over all workers, as the epoch began")),
      sum_rate_(AddGauge("headlong_sum_bytes_per_second",
                         "A long sum over all workers, as the epoch began")),
      bytes_sent_(AddCounter("headlong_lane_transfer_bytes_total",
                             "Caches of running sequences between workers, by direction",
                             {{"direction", "sent"}})),
      bytes_received_(AddCounter("headlong_lane_transfer_bytes_total",
                                 "Caches of running sequences between workers, by direction",
                                 {{"direction", "received"}})) {
  for (const absl::StatusCode code : kFaults) FaultsOf(code);  // a rate needs a series from 0
}

WorkerMetrics::~WorkerMetrics() = default;

int WorkerMetrics::port() const { return exposer_->GetListeningPorts().front(); }

prometheus::Gauge& WorkerMetrics::AddGauge(const char* name, const char* help,
                                           const Labels& labels) {
  return prometheus::BuildGauge()
      .Name(name)
      .Help(help)
      .Labels(worker_)
      .Register(*registry_)
      .Add(labels);
}

prometheus::Counter& WorkerMetrics::AddCounter(const char* name, const char* help,
                                               const Labels& labels) {
  return prometheus::BuildCounter()
      .Name(name)
      .Help(help)
      .Labels(worker_)
      .Register(*registry_)
      .Add(labels);
}

prometheus::Histogram& WorkerMetrics::AddTimes(const char* name, const char* help,
                                               const Labels& labels) {
  return prometheus::BuildHistogram()
      .Name(name)
      .Help(help)
      .Labels(worker_)
      .Register(*registry_)
      .Add(labels, kStepSeconds);
}

WorkerMetrics::Caches WorkerMetrics::AddCaches(const std::string& role) {
  const Labels labels = {{"role", role}};
  return {AddGauge("headlong_kv_blocks_used", "Pages in use, by role of heads", labels),
          AddGauge("headlong_kv_blocks", "Pages there are, by role of heads", labels),
          AddGauge("headlong_cache_used_bytes", "Memory of pages in use, by role of heads", labels),
          AddGauge("headlong_cache_bytes", "Memory of all pages, by role of heads", labels)};
}

void WorkerMetrics::Show(const Epoch& epoch) {
  for (const bool retrieval : {true, false}) {
    const PageUse use = epoch.pages(retrieval);
    const Caches& caches = retrieval ? retrieval_ : local_;
    caches.pages_used.Set(static_cast<double>(use.used));
    caches.pages_total.Set(static_cast<double>(use.total));
    caches.bytes_used.Set(static_cast<double>(use.used_bytes));
    caches.bytes_total.Set(static_cast<double>(use.total_bytes));
  }
}

void WorkerMetrics::Holds(const Epoch* epoch, int64_t weights_bytes) {
  weights_bytes_.Set(static_cast<double>(weights_bytes));
  epoch_.Set(epoch == nullptr ? 0 : static_cast<double>(epoch->number()));
  if (epoch == nullptr) return;
  Show(*epoch);
  sum_latency_.Set(epoch->sums().latency_s);
  sum_rate_.Set(epoch->sums().bytes_per_s);
}

void WorkerMetrics::Stepped(const Epoch& epoch, const v1::Step& step, const v1::StepDone& done) {
  int64_t tokens = 0;
  for (const v1::BatchEntry& entry : step.entries())
    tokens += entry.sampled_before() ? 1 : entry.tokens_size();
  step_tokens_.Observe(static_cast<double>(tokens));
  compute_seconds_.Observe(done.compute_ms() / 1e3);
  collective_seconds_.Observe(done.collective_ms() / 1e3);
  Show(epoch);
}

prometheus::Counter& WorkerMetrics::FaultsOf(absl::StatusCode code) {
  return AddCounter("headlong_worker_faults_total",
                    "Epochs it could not begin or go on with, by status code",
                    {{"code", absl::StatusCodeToString(code)}});
}

void WorkerMetrics::Failed(const absl::Status& status) { FaultsOf(status.code()).Increment(); }

void WorkerMetrics::Moved(int64_t bytes_sent, int64_t bytes_received) {
  bytes_sent_.Increment(static_cast<double>(bytes_sent));
  bytes_received_.Increment(static_cast<double>(bytes_received));
}

}  // namespace headlong
