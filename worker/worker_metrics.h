// What a worker says of itself to Prometheus: steps, caches, sums, faults and certificates, each
// with its id as label `worker`. Told by the step thread; read by whoever asks for /metrics.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/certificate_expiry.h"
#include "headlong/v1/worker.pb.h"
#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "worker/epoch.h"

namespace prometheus {
class Exposer;
}  // namespace prometheus

namespace headlong {

class WorkerMetrics {
 public:
  // Listens from here on. UNAVAILABLE names --metrics-listen when `address` cannot be had.
  static absl::StatusOr<std::unique_ptr<WorkerMetrics>> Start(const std::string& address,
                                                              const std::string& worker_id,
                                                              const TlsFiles& tls);
  ~WorkerMetrics();

  // What an epoch that is ready for steps holds; null: there is none.
  void Holds(const Epoch* epoch, int64_t weights_bytes);
  void Stepped(const Epoch& epoch, const v1::Step& step, const v1::StepDone& done);
  void Failed(const absl::Status& status);  // a step or an epoch's beginning
  void Moved(int64_t bytes_sent, int64_t bytes_received);
  int port() const;

 private:
  using Labels = prometheus::Labels;
  // Caches of the heads of one role.
  struct Caches {
    prometheus::Gauge& pages_used;
    prometheus::Gauge& pages_total;
    prometheus::Gauge& bytes_used;
    prometheus::Gauge& bytes_total;
  };

  WorkerMetrics(const std::string& worker_id, const TlsFiles& tls);
  prometheus::Gauge& AddGauge(const char* name, const char* help, const Labels& labels = {});
  prometheus::Counter& AddCounter(const char* name, const char* help, const Labels& labels = {});
  prometheus::Histogram& AddTimes(const char* name, const char* help, const Labels& labels = {});
  Caches AddCaches(const std::string& role);
  prometheus::Counter& FaultsOf(absl::StatusCode code);
  void Show(const Epoch& epoch);

  const Labels worker_;
  const std::shared_ptr<prometheus::Registry> registry_;
  const std::shared_ptr<CertificateExpiry> certificates_;
  prometheus::Gauge& epoch_;
  prometheus::Gauge& weights_bytes_;
  Caches retrieval_, local_;
  prometheus::Histogram& compute_seconds_;
  prometheus::Histogram& collective_seconds_;
  prometheus::Histogram& step_tokens_;
  prometheus::Gauge& sum_latency_;
  prometheus::Gauge& sum_rate_;
  prometheus::Counter& bytes_sent_;
  prometheus::Counter& bytes_received_;
  std::unique_ptr<prometheus::Exposer> exposer_;  // last: nobody reads once it is gone
};

}  // namespace headlong
