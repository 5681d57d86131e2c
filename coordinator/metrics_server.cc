#include "coordinator/metrics_server.h"

#include <future>
#include <utility>

#include "common/metrics_port.h"
#include "common/status.h"
#include "coordinator/cluster_metrics.h"
#include "prometheus/collectable.h"

namespace headlong {
namespace {

constexpr std::chrono::seconds kEnginePatience{2};

// Asks the engine whenever somebody asks us.
class ClusterState final : public prometheus::Collectable {
 public:
  explicit ClusterState(Engine* engine) : engine_(*engine) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    struct Answer {
      v1::GetClusterResponse cluster;
      v1::ListWorkersResponse workers;
    };
    auto promise = std::make_shared<std::promise<Answer>>();
    std::future<Answer> future = promise->get_future();
    engine_.Post([engine = &engine_, promise] {
      Answer answer;
      engine->Describe(answer.cluster);
      engine->Describe(answer.workers);
      promise->set_value(std::move(answer));
    });
    // An engine that ends answers nobody; what was counted is still there to be read.
    if (future.wait_for(kEnginePatience) != std::future_status::ready) return {};
    const Answer answer = future.get();
    return ClusterMetrics(answer.cluster, answer.workers);
  }

 private:
  Engine& engine_;
};

class PrometheusServer final : public MetricsServer {
 public:
  PrometheusServer(std::unique_ptr<prometheus::Exposer> exposer, Engine* engine)
      : registry_(std::make_shared<prometheus::Registry>()),
        requests_(*registry_),
        state_(std::make_shared<ClusterState>(engine)),
        exposer_(std::move(exposer)) {
    exposer_->RegisterCollectable(registry_);
    exposer_->RegisterCollectable(state_);
  }

  RequestMetrics& requests() override { return requests_; }
  int port() const override { return exposer_->GetListeningPorts().front(); }

 private:
  const std::shared_ptr<prometheus::Registry> registry_;
  RequestMetrics requests_;
  const std::shared_ptr<ClusterState> state_;
  const std::unique_ptr<prometheus::Exposer> exposer_;  // last: nobody reads once it is gone
};

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& address,
                                                                    Engine* engine) {
  ASSIGN_OR_RETURN(auto exposer, ListenForMetrics(address));
  return std::make_unique<PrometheusServer>(std::move(exposer), engine);
}

}  // namespace headlong
