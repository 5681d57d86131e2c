#include "coordinator/metrics_server.h"

#include <exception>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/cluster_metrics.h"
#include "prometheus/collectable.h"
#include "prometheus/exposer.h"

namespace headlong {
namespace {

constexpr std::chrono::seconds kEnginePatience{2};
constexpr size_t kThreads = 2;

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
  PrometheusServer(const std::string& address, Engine* engine)
      : registry_(std::make_shared<prometheus::Registry>()),
        requests_(*registry_),
        state_(std::make_shared<ClusterState>(engine)),
        exposer_(address, kThreads) {
    exposer_.RegisterCollectable(registry_);
    exposer_.RegisterCollectable(state_);
  }

  RequestMetrics& requests() override { return requests_; }
  int port() const override { return exposer_.GetListeningPorts().front(); }

 private:
  const std::shared_ptr<prometheus::Registry> registry_;
  RequestMetrics requests_;
  const std::shared_ptr<ClusterState> state_;
  prometheus::Exposer exposer_;  // last: nobody reads once it is gone
};

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& address,
                                                                    Engine* engine) {
  try {
    return std::make_unique<PrometheusServer>(address, engine);
  } catch (const std::exception&) {  // of the HTTP server, without a reason
    return absl::UnavailableError(absl::StrCat(
        "--metrics-listen: cannot listen on ", address,
        ": the port is in use or the address is not of this machine; choose another one"));
  }
}

}  // namespace headlong
