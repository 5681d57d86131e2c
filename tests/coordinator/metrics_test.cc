#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "coordinator/cluster_metrics.h"
#include "coordinator/request_metrics.h"

namespace headlong {
namespace {

using testing::ElementsAre;

// Remembers what came through.
class Recorder final : public ClientPort {
 public:
  void Accepted(int64_t, uint64_t) override { calls.push_back("accepted"); }
  void Progress(int64_t, int64_t) override { calls.push_back("progress"); }
  void Token(const DeliveredToken&) override { calls.push_back("token"); }
  void Finished(const FinishedRequest&) override { calls.push_back("finished"); }
  void Failed(const absl::Status&) override { calls.push_back("failed"); }
  std::vector<std::string> calls;
};

// The one sample of `name` whose labels are these.
prometheus::ClientMetric Sample(const std::vector<prometheus::MetricFamily>& families,
                                const std::string& name,
                                const std::map<std::string, std::string>& labels = {}) {
  for (const auto& family : families) {
    if (family.name != name) continue;
    for (const auto& metric : family.metric) {
      std::map<std::string, std::string> held;
      for (const auto& label : metric.label) held[label.name] = label.value;
      if (held == labels) return metric;
    }
  }
  ADD_FAILURE() << "no " << name;
  return {};
}

TEST(RequestMetrics, PassOnAndCountWhatAClientSees) {
  prometheus::Registry registry;
  RequestMetrics metrics(registry);
  const auto client = std::make_shared<Recorder>();
  const auto port = metrics.Meter(client);
  port->Accepted(7, 1);
  port->Progress(3, 7);
  for (int i = 0; i < 3; ++i) port->Token({});
  FinishedRequest finished;
  finished.reason = FinishReason::kLength;
  finished.prompt_tokens = 7;
  finished.completion_tokens = 3;
  finished.total_ms = 1500;
  port->Finished(finished);
  EXPECT_THAT(client->calls,
              ElementsAre("accepted", "progress", "token", "token", "token", "finished"));
  const auto seen = registry.Collect();
  const auto total = [&](const char* name) { return Sample(seen, name).counter.value; };
  EXPECT_EQ(total("headlong_generation_tokens_total"), 3);
  EXPECT_EQ(total("headlong_prompt_tokens_total"), 7);
  const auto ended = [&](const char* reason) {
    return Sample(seen, "headlong_requests_finished_total", {{"reason", reason}}).counter.value;
  };
  EXPECT_EQ(ended("length"), 1);
  EXPECT_EQ(ended("stop"), 0);
  EXPECT_EQ(Sample(seen, "headlong_time_to_first_token_seconds").histogram.sample_count, 1u);
  EXPECT_EQ(Sample(seen, "headlong_inter_token_latency_seconds").histogram.sample_count, 2u);
  EXPECT_EQ(Sample(seen, "headlong_e2e_request_latency_seconds").histogram.sample_sum, 1.5);
}

TEST(RequestMetrics, RefusalsAreNotFailures) {
  prometheus::Registry registry;
  RequestMetrics metrics(registry);
  metrics.Meter(std::make_shared<Recorder>())->Failed(absl::InvalidArgumentError("prompt"));
  const auto accepted = metrics.Meter(std::make_shared<Recorder>());
  accepted->Accepted(1, 1);
  accepted->Failed(absl::UnavailableError("gone"));
  const auto seen = registry.Collect();
  EXPECT_EQ(Sample(seen, "headlong_requests_rejected_total", {{"code", "INVALID_ARGUMENT"}})
                .counter.value,
            1);
  EXPECT_EQ(Sample(seen, "headlong_requests_finished_total", {{"reason", "error"}}).counter.value,
            1);
}

TEST(ClusterMetrics, SaysWhatTheClusterIs) {
  v1::GetClusterResponse cluster;
  cluster.set_state("recovering");
  cluster.set_epoch(4);
  cluster.set_cache_bytes_used(25);
  cluster.set_cache_bytes_reserved(100);
  cluster.set_step_seconds(2.5);
  v1::ListWorkersResponse workers;
  for (const char* state : {"ready", "ready", "gone"}) {
    v1::Worker& worker = *workers.add_workers();
    worker.set_id(absl::StrCat("w", workers.workers_size() - 1));
    worker.set_state(state);
    worker.set_collective_seconds(workers.workers_size());
  }
  const auto seen = ClusterMetrics(cluster, workers);
  EXPECT_EQ(Sample(seen, "headlong_serving").gauge.value, 0);
  EXPECT_EQ(Sample(seen, "headlong_placement_epoch").gauge.value, 4);
  EXPECT_EQ(Sample(seen, "headlong_kv_cache_usage_ratio").gauge.value, 0.25);
  EXPECT_EQ(Sample(seen, "headlong_step_seconds_total").counter.value, 2.5);
  EXPECT_EQ(Sample(seen, "headlong_workers", {{"state", "ready"}}).gauge.value, 2);
  EXPECT_EQ(Sample(seen, "headlong_workers", {{"state", "gone"}}).gauge.value, 1);
  EXPECT_EQ(Sample(seen, "headlong_workers", {{"state", "drained"}}).gauge.value, 0);
  EXPECT_EQ(
      Sample(seen, "headlong_worker_collective_seconds_total", {{"worker", "w1"}}).counter.value,
      2);
  for (const auto& family : seen) {
    for (const auto& metric : family.metric) {
      for (const auto& label : metric.label) EXPECT_NE(label.value, "w2") << "it is gone";
    }
  }
}

TEST(ClusterMetrics, AnEmptyClusterDividesNothing) {
  const auto seen = ClusterMetrics({}, {});
  EXPECT_EQ(Sample(seen, "headlong_kv_cache_usage_ratio").gauge.value, 0);
}

}  // namespace
}  // namespace headlong
