#include "coordinator/cluster_metrics.h"

#include <map>
#include <string>
#include <utility>

#include "common/version.h"

namespace headlong {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

class Families {
 public:
  void Begin(const char* name, MetricType type, const char* help) {
    families_.push_back({name, help, type, {}});
  }
  void Add(double value, Labels labels = {}) {
    ClientMetric metric;
    metric.label = std::move(labels);
    (families_.back().type == MetricType::Counter ? metric.counter.value : metric.gauge.value) =
        value;
    families_.back().metric.push_back(std::move(metric));
  }
  void One(const char* name, MetricType type, const char* help, double value) {
    Begin(name, type, help);
    Add(value);
  }
  std::vector<MetricFamily> Take() { return std::move(families_); }

 private:
  std::vector<MetricFamily> families_;
};

void AddCluster(const v1::GetClusterResponse& cluster, Families& out) {
  out.Begin("headlong_build_info", MetricType::Gauge, "1; which program and model this is");
  out.Add(1, {{"version", Version()}, {"model_name", cluster.model()}});
  out.One("headlong_serving", MetricType::Gauge, "1 while requests are computed",
          cluster.state() == "serving");
  out.One("headlong_placement_epoch", MetricType::Gauge, "Grows with every new placement",
          static_cast<double>(cluster.epoch()));
  out.One("headlong_recoveries_total", MetricType::Counter,
          "Epochs that ended because a worker was lost", static_cast<double>(cluster.recoveries()));
  out.One("headlong_workers_expected", MetricType::Gauge, "Workers that the first epoch waits for",
          cluster.workers_expected());
  out.One("headlong_requests_running", MetricType::Gauge, "Requests with a place in the caches",
          cluster.requests_running());
  out.One("headlong_requests_waiting", MetricType::Gauge, "Requests that wait for a place",
          cluster.requests_waiting());
  out.One("headlong_preemptions_total", MetricType::Counter,
          "Sequences whose place went to an older one; they are computed again",
          static_cast<double>(cluster.preemptions()));
  out.One("headlong_steps_total", MetricType::Counter, "Batches computed",
          static_cast<double>(cluster.steps()));
  out.One("headlong_step_seconds_total", MetricType::Counter,
          "What they took, from sending a step to the last worker's answer",
          cluster.step_seconds());
  out.One("headlong_step_tokens_total", MetricType::Counter,
          "Tokens computed in them, of prompts, replays and answers",
          static_cast<double>(cluster.step_tokens()));
  const double reserved = static_cast<double>(cluster.cache_bytes_reserved());
  const double used = static_cast<double>(cluster.cache_bytes_used());
  out.One("headlong_cache_reserved_bytes", MetricType::Gauge, "Memory of the caches, all workers",
          reserved);
  out.One("headlong_kv_cache_usage_ratio", MetricType::Gauge, "Share of it in use, 0 to 1",
          reserved > 0 ? used / reserved : 0);
}

void AddWorkers(const v1::ListWorkersResponse& workers, Families& out) {
  std::map<std::string, int> states = {
      {"registered", 0}, {"loading", 0}, {"ready", 0}, {"drained", 0}, {"gone", 0}};
  for (const v1::Worker& worker : workers.workers()) ++states[worker.state()];
  out.Begin("headlong_workers", MetricType::Gauge, "Workers by state");
  for (const auto& [state, count] : states) out.Add(count, {{"state", state}});
  const auto each = [&](const char* name, MetricType type, const char* help, auto value) {
    out.Begin(name, type, help);
    for (const v1::Worker& worker : workers.workers()) {
      if (worker.state() == "gone") continue;
      out.Add(static_cast<double>(value(worker)), {{"worker", worker.id()}});
    }
  };
  each("headlong_worker_memory_bytes", MetricType::Gauge,
       "What weights, caches and scratch may use",
       [](const v1::Worker& worker) { return worker.memory_bytes(); });
  each("headlong_worker_cache_used_bytes", MetricType::Gauge, "Pages and sums in use",
       [](const v1::Worker& worker) { return worker.cache_bytes_used(); });
  each("headlong_worker_heads", MetricType::Gauge, "Heads, or parts of heads, that it holds",
       [](const v1::Worker& worker) { return worker.heads(); });
  each("headlong_worker_compute_seconds_total", MetricType::Counter,
       "Time in steps without waiting for other workers",
       [](const v1::Worker& worker) { return worker.compute_seconds(); });
  each("headlong_worker_collective_seconds_total", MetricType::Counter,
       "Time in steps in sums over workers, which is where the fast wait for the slow",
       [](const v1::Worker& worker) { return worker.collective_seconds(); });
}

}  // namespace

std::vector<MetricFamily> ClusterMetrics(const v1::GetClusterResponse& cluster,
                                         const v1::ListWorkersResponse& workers) {
  Families families;
  AddCluster(cluster, families);
  AddWorkers(workers, families);
  return families.Take();
}

}  // namespace headlong
