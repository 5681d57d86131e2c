#include "coordinator/metrics_server.h"

#include <utility>

#include "common/certificate_expiry.h"
#include "common/metrics_port.h"
#include "common/status.h"
#include "coordinator/cluster_metrics.h"
#include "coordinator/engine_answer.h"
#include "prometheus/collectable.h"

namespace headlong {
namespace {

// Asks the engine whenever somebody asks us.
class ClusterState final : public prometheus::Collectable {
 public:
  explicit ClusterState(Engine* engine) : engine_(*engine) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    // An engine that ends answers nobody; what was counted is still there to be read.
    const auto cluster = AnswerOf<v1::GetClusterResponse>(engine_);
    if (!cluster.ok()) return {};
    const auto workers = AnswerOf<v1::ListWorkersResponse>(engine_);
    if (!workers.ok()) return {};
    return ClusterMetrics(*cluster, *workers);
  }

 private:
  Engine& engine_;
};

class PrometheusServer final : public MetricsServer {
 public:
  PrometheusServer(std::unique_ptr<prometheus::Exposer> exposer, Engine* engine,
                   const TlsFiles& tls)
      : registry_(std::make_shared<prometheus::Registry>()),
        requests_(*registry_),
        cut_connections_(prometheus::BuildCounter()
                             .Name("headlong_connections_cut_total")
                             .Help("Connections of strangers who sent much and made no call")
                             .Register(*registry_)),
        state_(std::make_shared<ClusterState>(engine)),
        certificates_(std::make_shared<CertificateExpiry>(tls)),
        exposer_(std::move(exposer)) {
    exposer_->RegisterCollectable(registry_);
    exposer_->RegisterCollectable(state_);
    exposer_->RegisterCollectable(certificates_);
  }

  RequestMetrics& requests() override { return requests_; }
  prometheus::Counter& CutConnections(const char* port) override {
    return cut_connections_.Add({{"port", port}});
  }
  int port() const override { return exposer_->GetListeningPorts().front(); }

 private:
  const std::shared_ptr<prometheus::Registry> registry_;
  RequestMetrics requests_;
  prometheus::Family<prometheus::Counter>& cut_connections_;
  const std::shared_ptr<ClusterState> state_;
  const std::shared_ptr<CertificateExpiry> certificates_;
  const std::unique_ptr<prometheus::Exposer> exposer_;  // last: nobody reads once it is gone
};

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& address,
                                                                    Engine* engine,
                                                                    const TlsFiles& tls) {
  ASSIGN_OR_RETURN(auto exposer, ListenForMetrics(address));
  return std::make_unique<PrometheusServer>(std::move(exposer), engine, tls);
}

}  // namespace headlong
