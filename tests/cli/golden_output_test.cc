// What operators read, word for word, in golden/: a change there is a decision, not an accident.
#include <gtest/gtest.h>

#include "cli/admin_output.h"
#include "cli/doctor.h"
#include "cli/epochs_output.h"
#include "cli/placement_explain.h"
#include "cli/request_trace.h"
#include "cli/top_view.h"
#include "common/json.h"
#include "tests/support/paths.h"

namespace headlong {
namespace {

// The text of golden/NAME.txt beside this file.
std::string Golden(const std::string& name) {
  const auto text = ReadFile(SourceDir() / "tests" / "cli" / "golden" / (name + ".txt"));
  EXPECT_TRUE(text.ok()) << text.status();
  return text.value_or("");
}

v1::GetClusterResponse Cluster() {
  v1::GetClusterResponse cluster;
  cluster.set_state("serving");
  cluster.set_model("llama-8b");
  cluster.set_epoch(3);
  cluster.set_workers_expected(2);
  cluster.set_workers_ready(2);
  cluster.set_requests_running(2);
  cluster.set_requests_waiting(1);
  cluster.set_cache_bytes_used(int64_t{3} << 30);
  cluster.set_cache_bytes_reserved(int64_t{12} << 30);
  cluster.set_recoveries(1);
  cluster.set_sequences_moved(4);
  cluster.set_sequences_replayed(5);
  cluster.set_steps(120000);
  cluster.set_last_step_ms(9.5);
  cluster.set_step_seconds(1200);
  cluster.set_step_tokens(3000000);
  cluster.set_tokens_sampled(250000);
  cluster.set_preemptions(2);
  cluster.set_version("0.1.0");
  cluster.set_wire_protocol(2);
  cluster.set_uptime_s(4000);
  return cluster;
}

v1::ListWorkersResponse Workers() {
  v1::ListWorkersResponse workers;
  for (const char* id : {"a", "gpu-10"}) {
    v1::Worker& worker = *workers.add_workers();
    worker.set_id(id);
    worker.set_address("10.0.0.2");
    worker.set_pid(4711);
    worker.set_state("ready");
    worker.set_device("cuda:0 NVIDIA H200");
    worker.set_epoch(3);
    worker.set_memory_bytes(int64_t{139} << 30);
    worker.set_cache_bytes_used(int64_t{1} << 30);
    worker.set_heads(128);
    worker.set_read_bytes_per_s(4e12);
    worker.set_matmul_flops(6.5e14);
    worker.set_matmul_flops_one_row(3.5e12);
    worker.set_compute_seconds(90);
    worker.set_collective_seconds(10);
    worker.set_version("0.1.0");
  }
  v1::RefusedWorker& refused = *workers.add_refused();
  refused.set_id("old");
  refused.set_host("10.0.0.9");
  refused.set_reason("speaks protocol 1, this coordinator 2");
  refused.set_age_s(12);
  refused.set_times(3);
  return workers;
}

v1::ListRequestsResponse Requests() {
  v1::ListRequestsResponse requests;
  v1::RequestState& running = *requests.add_requests();
  running.set_request_id("r-1");
  running.set_state("decode");
  running.set_prompt_tokens(8000);
  running.set_computed_tokens(8100);
  running.set_completion_tokens(101);
  running.set_max_tokens(256);
  running.set_cache_bytes(int64_t{6} << 20);
  running.set_age_ms(3000);
  running.set_queue_ms(20);
  running.set_first_token_ms(1000);
  v1::RequestState& waiting = *requests.add_requests();
  waiting.set_request_id("r-2");
  waiting.set_state("waiting");
  waiting.set_prompt_tokens(10);
  waiting.set_max_tokens(16);
  waiting.set_age_ms(500);
  waiting.set_queue_ms(500);
  return requests;
}

TEST(Golden, ClusterStatus) {
  EXPECT_EQ(ClusterView(Cluster(), Workers()).table, Golden("cluster_status"));
  EXPECT_EQ(ClusterView(Cluster(), {}).wide, Golden("cluster_status_wide"));
  EXPECT_EQ(ClusterView(Cluster(), {}).names, "serving\n");
}

TEST(Golden, ClusterStatusAsJson) {
  EXPECT_EQ(ClusterView(Cluster(), Workers()).json.dump(), Golden("cluster_status_json"));
}

TEST(Golden, Workers) {
  EXPECT_EQ(WorkersView(Workers()).table, Golden("workers"));
  EXPECT_EQ(WorkersView(Workers()).wide, Golden("workers_wide"));
  EXPECT_EQ(WorkersView(Workers()).names, "a\ngpu-10\n");
}

TEST(Golden, OneWorker) {
  EXPECT_EQ(WorkerView(Workers(), "a")->table, Golden("worker"));
  EXPECT_EQ(WorkerView(Workers(), "old").status().message(),
            "worker old of 10.0.0.9 was refused 12.0 s ago: speaks protocol 1, this coordinator 2");
  EXPECT_EQ(WorkerView(Workers(), "b").status().message(),
            "no worker is called b; `headlong workers list` shows who is here");
}

TEST(Golden, Requests) {
  EXPECT_EQ(RequestsView(Requests()).table, Golden("requests"));
  EXPECT_EQ(RequestsView(Requests()).wide, Golden("requests_wide"));
  EXPECT_EQ(RequestView(Requests(), "r-1")->table, Golden("request"));
}

TEST(Golden, History) {
  v1::ListEpochsResponse epochs;
  v1::Epoch& first = *epochs.add_epochs();
  first.set_epoch(1);
  first.set_began_unix_ms(1770000000123);
  first.set_reason("all workers that are expected are here");
  first.add_workers("a");
  first.add_workers("b");
  first.set_heads(256);
  first.set_heads_moved(256);
  first.set_step_ms(9.25);
  first.set_gap(0.02);
  first.set_seconds_to_serve(14.2);
  first.set_ended("worker b is gone");
  v1::Epoch& refused = *epochs.add_epochs();
  refused.set_epoch(2);
  refused.set_began_unix_ms(1770000100000);
  refused.set_reason("worker b is gone");
  refused.set_refusal("the model does not fit");
  EXPECT_EQ(EpochsView(epochs).table, Golden("history"));
  EXPECT_EQ(EpochsView(epochs).wide, Golden("history_wide"));
}

// Two layers of two heads on two workers; b's memory is full, so a holds more.
v1::GetPlacementResponse Placed() {
  v1::GetPlacementResponse placed;
  placed.set_layers(2);
  placed.set_kv_heads(2);
  v1::Placement& placement = *placed.mutable_placement();
  placement.set_epoch(3);
  placement.set_step_ms(4);
  placement.set_lower_bound_ms(3.2);
  placement.set_gap(0.25);
  v1::PlacementReport& report = *placed.mutable_report();
  report.set_context(8192);
  report.set_concurrency(4);
  report.set_attention_ms(2);
  report.set_mlp_ms(1.5);
  report.set_vocabulary_ms(0.3);
  report.set_sums_ms(0.2);
  report.set_striped_heads(1);
  for (const auto& [id, attention, mlp] :
       {std::tuple("a", 1.0, 0.75), std::tuple("b", 0.5, 0.25)}) {
    v1::WorkerShare& share = *placement.add_workers();
    share.set_worker_id(id);
    share.set_memory_bytes(1000);
    share.set_weights_bytes(id == std::string("b") ? 800 : 100);
    share.set_cache_bytes(180);
    v1::WorkerTimes& times = *report.add_workers();
    for (uint32_t layer = 0; layer < 2; ++layer) {
      times.add_attention_ms(attention);
      times.add_mlp_ms(mlp);
      v1::Range& columns = *share.add_mlp_columns();
      columns.set_end(384);
      v1::HeadShare& head = *share.add_heads();
      head.set_layer(layer);
      head.set_policy("retrieval");
      head.set_retrieval(true);
      head.set_stripe_index(id == std::string("b") ? 1 : 0);
      head.set_stripe_count(2);
    }
    times.set_vocabulary_ms(0.3);
  }
  return placed;
}

TEST(Golden, PlacementExplained) {
  v1::ListWorkersResponse workers;
  for (const auto& [id, speed] : {std::pair("a", 3e11), std::pair("b", 1e11)}) {
    workers.add_workers()->set_id(id);
    workers.mutable_workers()->rbegin()->set_read_bytes_per_s(speed);
  }
  EXPECT_EQ(ExplainPlacement(Placed(), workers, "")->table, Golden("explain"));
  EXPECT_EQ(ExplainPlacement(Placed(), workers, "b")->table, Golden("explain_worker"));
  EXPECT_EQ(ExplainPlacement(Placed(), workers, "1.0")->table, Golden("explain_head"));
  EXPECT_EQ(ExplainPlacement(Placed(), workers, "1.7").status().message(),
            "no head 1.7: the model has 2 layers of 2 heads");
  EXPECT_EQ(ExplainPlacement(Placed(), workers, "c").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ExplainPlacement({}, workers, "").status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(Golden, Top) {
  TopView view;
  view.server = "10.0.0.1:7000";
  view.width = 100;
  view.now = {Cluster(), Workers(), Requests(), 10};
  EXPECT_EQ(TopText(view), Golden("top_first"));
  view.before = view.now;
  view.now.at_s = 12;
  view.now.cluster.set_steps(120200);
  view.now.cluster.set_step_seconds(1201.9);
  view.now.cluster.set_step_tokens(3016000);
  view.now.cluster.set_tokens_sampled(251000);
  view.now.cluster.set_uptime_s(4002);
  view.now.workers.mutable_workers(0)->set_compute_seconds(91.5);
  view.now.workers.mutable_workers(0)->set_collective_seconds(10.4);
  view.now.workers.mutable_workers(1)->set_pid(4712);  // came anew: nothing is known of its load
  EXPECT_EQ(TopText(view), Golden("top"));
  const OutputJson json = TopJson(view);
  EXPECT_EQ(json["sampled_tokens_per_s"], 500.0);
  EXPECT_EQ(json["computed_tokens_per_s"], 8000.0);
  EXPECT_EQ(json["workers"][0]["computing"], 0.75);
  EXPECT_TRUE(json["workers"][1]["computing"].is_null());
  view.now.cluster.set_uptime_s(1);  // the coordinator started anew
  EXPECT_TRUE(TopJson(view)["steps_per_s"].is_null());
}

TEST(Top, NoLineIsWiderThanTheScreen) {
  TopView view;
  view.server = "10.0.0.1:7000";
  view.width = 40;
  view.colour = true;
  view.now = {Cluster(), Workers(), Requests(), 10};
  for (int i = 0; i < 100; ++i) *view.now.requests.add_requests() = view.now.requests.requests(0);
  const std::string text = TopText(view);
  int columns = 0;
  bool escaped = false;
  for (const char c : text) {
    escaped = escaped || c == '\x1b';
    if (!escaped) columns = c == '\n' ? 0 : columns + 1;
    if (c == 'm') escaped = false;
    ASSERT_LE(columns, 40);
  }
  EXPECT_NE(text.find("\x1b[32mserving\x1b[0m"), std::string::npos);
  EXPECT_NE(text.find("and 90 more"), std::string::npos);
}

// A request that waited, lost a worker in the middle of its answer, and was read slowly.
v1::RequestTrace Traced() {
  v1::RequestTrace trace;
  trace.set_request_id("r-1");
  trace.set_trace_id("4bf92f3577b34da6a3ce929d0e0e4736");
  trace.set_caller("alice");
  trace.set_received_unix_ms(1770000000123);
  trace.set_state("ended");
  trace.set_end("stop");
  trace.set_age_ms(4000);
  trace.set_prompt_tokens(1200);
  trace.set_max_tokens(256);
  trace.set_sampled_tokens(101);
  trace.set_first_token_ms(1000);
  trace.set_preemptions(1);
  const auto span = [&](const char* kind, double begin, double end, const char* reason) {
    v1::TraceSpan& added = *trace.add_spans();
    added.set_kind(kind);
    added.set_begin_ms(begin);
    added.set_end_ms(end);
    added.set_reason(reason);
    return &added;
  };
  const auto steps = [](v1::TraceSpan* of, uint64_t epoch, uint64_t first, uint32_t count,
                        uint64_t tokens) {
    of->set_epoch(epoch);
    of->set_first_step(first);
    of->set_steps(count);
    of->set_tokens(tokens);
    of->set_computed_ms(of->end_ms() - of->begin_ms());
  };
  span("received", 0, 1.5, "");
  span("waiting", 1.5, 400, "as many sequences run as may");
  steps(span("prefill", 400, 700, ""), 3, 41, 1, 512);
  steps(span("prefill", 700, 1000, ""), 3, 42, 1, 688);
  steps(span("decode", 1000, 2000, ""), 3, 43, 50, 50);
  steps(span("lost", 2000, 2010, ""), 3, 93, 1, 0);
  span("paused", 2010, 3000, "worker b is gone; it is computed again from its tokens");
  trace.mutable_spans()->rbegin()->set_epoch(3);
  steps(span("replay", 3000, 3500, ""), 4, 1, 3, 1251);
  steps(span("decode", 3500, 4000, ""), 4, 4, 50, 50);
  v1::DecodeSteps& decode = *trace.mutable_decode();
  decode.set_steps(100);
  decode.set_mean_ms(15);
  decode.set_p99_ms(28.5);
  decode.set_max_ms(30);
  decode.set_slowest_step(77);
  decode.set_slowest_epoch(3);
  v1::Delivery& delivery = *trace.mutable_delivery();
  delivery.set_messages(103);
  delivery.set_most_waiting(40);
  delivery.set_longest_wait_ms(1500);
  delivery.set_closed_ms(5000);
  return trace;
}

TEST(Golden, Trace) {
  const AdminView view = TraceView(Traced(), {false, true, 80});
  EXPECT_EQ(view.table, Golden("trace"));
  EXPECT_EQ(view.wide, Golden("trace_wide"));
  EXPECT_EQ(view.json.dump() + "\n", Golden("trace_json"));
  EXPECT_EQ(view.names, "r-1\n");
  EXPECT_EQ(TraceSvg(Traced()), Golden("trace_svg"));
  EXPECT_EQ(TraceView(Traced(), {false, false, 80}).table, Golden("trace_ascii"));
}

TEST(Golden, TraceOfARequestThatWaits) {
  v1::RequestTrace trace;
  trace.set_request_id("r-2");
  trace.set_state("waiting");
  trace.set_age_ms(500);
  trace.set_prompt_tokens(1);
  trace.set_max_tokens(16);
  v1::TraceSpan& span = *trace.add_spans();
  span.set_kind("waiting");
  span.set_reason("the cache has no room for its tokens");
  span.set_end_ms(500);
  EXPECT_EQ(TraceView(trace, {false, true, 80}).table, Golden("trace_waits"));
  EXPECT_TRUE(TraceSvg({}).ends_with("</svg>\n"));
}

TEST(Golden, Doctor) {
  Findings findings;
  findings.Ok("port", "10.0.0.1:7000 takes connections");
  findings.Warn("certificate", "valid until 2026-01-31 12:00 UTC (3 days)", "renew it");
  EXPECT_FALSE(findings.failed());
  findings.Fail("access", "no access token was shown", "give --token-file FILE");
  EXPECT_TRUE(findings.failed());
  EXPECT_EQ(FindingsText(findings, false), Golden("doctor"));
  EXPECT_EQ(FindingsJson(findings).dump(), Golden("doctor_json"));
}

}  // namespace
}  // namespace headlong
