// What operators read, word for word: a change of these texts is a decision, not an accident.
#include <gtest/gtest.h>

#include "cli/admin_output.h"
#include "cli/doctor.h"
#include "cli/epochs_output.h"
#include "cli/placement_explain.h"
#include "cli/top_view.h"

namespace headlong {
namespace {

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
  EXPECT_EQ(ClusterView(Cluster(), Workers()).table,
            "state     serving\nmodel     llama-8b\n"
            "workers   2 of 2 ready, epoch 3, 1 recoveries\n"
            "requests  2 running, 1 waiting\n"
            "moves     4 sequences moved live, 5 computed again\n"
            "cache     3.00 GiB of 12.0 GiB used\n"
            "steps     120,000, the last took 9.5 ms\n"
            "refused   old of 10.0.0.9, 12.0 s ago: speaks protocol 1, this coordinator 2\n");
  EXPECT_EQ(ClusterView(Cluster(), {}).wide,
            "state     serving\n"
            "model     llama-8b\n"
            "workers   2 of 2 ready, epoch 3, 1 recoveries\n"
            "requests  2 running, 1 waiting\n"
            "moves     4 sequences moved live, 5 computed again\n"
            "cache     3.00 GiB of 12.0 GiB used\n"
            "steps     120,000, the last took 9.5 ms\n"
            "tokens    3,000,000 computed, 250,000 sampled, 2 preemptions\n"
            "program   0.1.0, protocol 2, up 66 min 40 s\n");
  EXPECT_EQ(ClusterView(Cluster(), {}).names, "serving\n");
}

TEST(Golden, ClusterStatusAsJson) {
  EXPECT_EQ(
      ClusterView(Cluster(), Workers()).json.dump(),
      "{\"state\":\"serving\",\"can_serve\":true,\"reason\":\"\",\"model\":\"llama-8b\",\"epoch\":"
      "3,"
      "\"workers_expected\":2,\"workers_ready\":2,\"requests_running\":2,\"requests_waiting\":1,"
      "\"cache_bytes_used\":3221225472,\"cache_bytes_reserved\":12884901888,\"recoveries\":1,"
      "\"sequences_moved\":4,\"sequences_replayed\":5,\"weights_bytes_loaded\":0,"
      "\"weights_bytes_total\":0,\"steps\":120000,\"last_step_ms\":9.5,\"step_tokens\":3000000,"
      "\"tokens_sampled\":250000,\"preemptions\":2,\"uptime_s\":4000.0,\"version\":\"0.1.0\","
      "\"wire_protocol\":2,\"refused_workers\":[{\"id\":\"old\",\"address\":\"10.0.0.9\","
      "\"reason\":\"speaks protocol 1, this coordinator "
      "2\",\"version\":\"\",\"times\":3,\"age_s\":12.0}]}");
}

TEST(Golden, Workers) {
  EXPECT_EQ(WorkersView(Workers()).table,
            "id      state  device              epoch  heads   memory  cache used   reads/s   "
            "pid  address\n"
            "a       ready  cuda:0 NVIDIA H200      3    128  139 GiB    1.00 GiB  3.64 TiB  "
            "4711  10.0.0.2\n"
            "gpu-10  ready  cuda:0 NVIDIA H200      3    128  139 GiB    1.00 GiB  3.64 TiB  "
            "4711  10.0.0.2\n");
  EXPECT_EQ(WorkersView(Workers()).wide,
            "id      state  device              epoch  heads   memory  cache used   reads/s   "
            "pid  address         products  in sums  version\n"
            "a       ready  cuda:0 NVIDIA H200      3    128  139 GiB    1.00 GiB  3.64 TiB  "
            "4711  10.0.0.2  650.00 TFLOP/s   10.0 %  0.1.0\n"
            "gpu-10  ready  cuda:0 NVIDIA H200      3    128  139 GiB    1.00 GiB  3.64 TiB  "
            "4711  10.0.0.2  650.00 TFLOP/s   10.0 %  0.1.0\n"
            "refused   old of 10.0.0.9, 12.0 s ago: speaks protocol 1, this coordinator 2\n");
  EXPECT_EQ(WorkersView(Workers()).names, "a\ngpu-10\n");
}

TEST(Golden, OneWorker) {
  EXPECT_EQ(WorkerView(Workers(), "a")->table,
            "id          a\n"
            "state       ready\n"
            "device      cuda:0 NVIDIA H200\n"
            "address     10.0.0.2, pid 4711\n"
            "version     0.1.0\n"
            "epoch       3\n"
            "heads       128\n"
            "memory      139 GiB\n"
            "cache used  1.00 GiB\n"
            "reads       3.64 TiB/s\n"
            "products    650.00 TFLOP/s, with one row 3.50\n"
            "in steps    90.0 s computing, 10.0 s in sums (10.0 %)\n");
  EXPECT_EQ(WorkerView(Workers(), "old").status().message(),
            "worker old of 10.0.0.9 was refused 12.0 s ago: speaks protocol 1, this coordinator 2");
  EXPECT_EQ(WorkerView(Workers(), "b").status().message(),
            "no worker is called b; `headlong workers list` shows who is here");
}

TEST(Golden, Requests) {
  EXPECT_EQ(RequestsView(Requests()).table,
            "id   state    prompt  computed  answered     cache     age\n"
            "r-1  decode    8,000     8,100       101  6.00 MiB   3.0 s\n"
            "r-2  waiting      10         0         0       0 B  500 ms\n");
  EXPECT_EQ(RequestsView(Requests()).wide,
            "id   state    prompt  computed  answered     cache     age  at most  queued  first "
            "token  tokens/s\n"
            "r-1  decode    8,000     8,100       101  6.00 MiB   3.0 s      256   20 ms        "
            "1.0 s      50.0\n"
            "r-2  waiting      10         0         0       0 B  500 ms       16  500 ms         "
            "   -         -\n");
  EXPECT_EQ(RequestView(Requests(), "r-1")->table,
            "id           r-1\n"
            "state        decode\n"
            "prompt       8,000 tokens\n"
            "computed     8,100 of 8,101 tokens\n"
            "answered     101 of at most 256 tokens, 50.0 a second\n"
            "cache        6.00 MiB\n"
            "age          3.0 s\n"
            "queued       20 ms\n"
            "first token  after 1.0 s\n"
            "crashes      0 of workers in a row\n");
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
  EXPECT_EQ(EpochsView(epochs).table,
            "epoch  began                 because                                      moved  "
            "serves after  outcome\n"
            "    1  2026-02-02T02:40:00Z  all workers that are expected are here  256 of 256     "
            "   14.2 s  ended: worker b is gone\n"
            "    2  2026-02-02T02:41:40Z  worker b is gone                            0 of 0     "
            "        -  could not begin: the model does not fit\n");
  EXPECT_EQ(EpochsView(epochs).wide,
            "epoch  began                 because                                      moved  "
            "serves after      step    gap  kept  replayed  workers  outcome\n"
            "    1  2026-02-02T02:40:00Z  all workers that are expected are here  256 of 256     "
            "   14.2 s  9.250 ms  2.0 %     0         0  a,b      ended: worker b is gone\n"
            "    2  2026-02-02T02:41:40Z  worker b is gone                            0 of 0     "
            "        -  0.000 ms  0.0 %     0         0           could not begin: the model "
            "does not fit\n");
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
  EXPECT_EQ(ExplainPlacement(Placed(), workers, "")->table,
            "epoch 3: a decode step of 4 sequences of 8,192 tokens is modelled to take 4.000 ms: "
            "attention 2.000, MLP 1.500, vocabulary 0.300, sums 0.200, exchange 0.000\n"
            "no placement of this model and plan takes less than 3.200 ms on these workers (gap "
            "25.0 %)\n"
            "1 heads are split over workers, so that none waits long\n"
            "worker   speed    busy  attention       MLP  slowest in  memory  because\n"
            "a       75.0 %  95.0 %   2.000 ms  1.500 ms    2 layers  28.0 %  holds what it can "
            "compute in time\n"
            "b       25.0 %  45.0 %   1.000 ms  0.500 ms    0 layers  98.0 %  its memory is "
            "full: it holds less than it could compute\n");
  EXPECT_EQ(ExplainPlacement(Placed(), workers, "b")->table,
            "b: its memory is full: it holds less than it could compute\n"
            "busy 1.800 of 4.000 ms; memory 800 B weights, 180 B caches, 0 B scratch of 1000 B "
            "(98.0 %)\n"
            "layer  heads  attention  MLP columns       MLP\n"
            "    0      1   0.500 ms          384  0.250 ms\n"
            "    1      1   0.500 ms          384  0.250 ms\n");
  EXPECT_EQ(ExplainPlacement(Placed(), workers, "1.0")->table,
            "layer 1 head 0: retrieval, policy retrieval\n"
            "a, pages of stripe 0 of 2; its attention in this layer takes 1.000 ms\n"
            "b, pages of stripe 1 of 2; its attention in this layer takes 0.500 ms\n");
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
  EXPECT_EQ(TopText(view),
            "llama-8b at 10.0.0.1:7000  serving  epoch 3  up 66 min 40 s\n"
            "workers   2 of 2 ready   requests  2 running, 1 waiting\n"
            "tokens/s  - sampled, - computed   steps/s  -\n"
            "cache     3.00 GiB of 12.0 GiB (25.0 %)\n"
            "\n"
            "worker  state  device              computing  in sums     cache  heads\n"
            "a       ready  cuda:0 NVIDIA H200          -        -  1.00 GiB    128\n"
            "gpu-10  ready  cuda:0 NVIDIA H200          -        -  1.00 GiB    128\n"
            "\n"
            "request  state    prompt  answered     cache     age\n"
            "r-1      decode    8,000       101  6.00 MiB   3.0 s\n"
            "r-2      waiting      10         0       0 B  500 ms\n");
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
  EXPECT_EQ(TopText(view),
            "llama-8b at 10.0.0.1:7000  serving  epoch 3  up 66 min 42 s\n"
            "workers   2 of 2 ready   requests  2 running, 1 waiting\n"
            "tokens/s  500 sampled, 8,000 computed   steps/s  100 of 9.50 ms\n"
            "cache     3.00 GiB of 12.0 GiB (25.0 %)\n"
            "\n"
            "worker  state  device              computing  in sums     cache  heads\n"
            "a       ready  cuda:0 NVIDIA H200     75.0 %   20.0 %  1.00 GiB    128\n"
            "gpu-10  ready  cuda:0 NVIDIA H200          -        -  1.00 GiB    128\n"
            "\n"
            "request  state    prompt  answered     cache     age\n"
            "r-1      decode    8,000       101  6.00 MiB   3.0 s\n"
            "r-2      waiting      10         0       0 B  500 ms\n");
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

TEST(Golden, Doctor) {
  Findings findings;
  findings.Ok("port", "10.0.0.1:7000 takes connections");
  findings.Warn("certificate", "valid until 2026-01-31 12:00 UTC (3 days)", "renew it");
  EXPECT_FALSE(findings.failed());
  findings.Fail("access", "no access token was shown", "give --token-file FILE");
  EXPECT_TRUE(findings.failed());
  EXPECT_EQ(FindingsText(findings, false),
            "ok    port           10.0.0.1:7000 takes connections\n"
            "warn  certificate    valid until 2026-01-31 12:00 UTC (3 days)\n"
            "                     -> renew it\n"
            "fail  access         no access token was shown\n"
            "                     -> give --token-file FILE\n"
            "3 checks, 1 warnings, 1 failures\n");
  EXPECT_EQ(FindingsJson(findings).dump(),
            "{\"ok\":false,\"checks\":[{\"check\":\"port\",\"result\":\"ok\",\"found\":\"10.0.0.1:"
            "7000 takes "
            "connections\"},{\"check\":\"certificate\",\"result\":\"warn\",\"found\":\"valid until "
            "2026-01-31 12:00 UTC (3 days)\",\"next\":\"renew "
            "it\"},{\"check\":\"access\",\"result\":\"fail\",\"found\":\"no access token was "
            "shown\",\"next\":\"give --token-file FILE\"}]}");
}

}  // namespace
}  // namespace headlong
