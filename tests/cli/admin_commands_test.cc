// What operators ask; tokenizers; models and plans.

#include "gmock/gmock.h"
#include "tests/cli/command_fixture.h"
#include "tests/support/paths.h"

namespace headlong {
namespace {

using ::testing::HasSubstr;

TEST_F(CommandsTest, ClusterStatusIsOkOnlyWhenItServes) {
  for (const char* state : {"waiting", "loading", "recovering", "draining"}) {
    server_.admin.cluster.set_state(state);
    server_.admin.cluster.set_reason("because");
    const Outcome outcome = RunOn({"cluster", "status"});
    EXPECT_EQ(outcome.code, ExitCode::kFailed) << state;
    EXPECT_THAT(outcome.out, HasSubstr(absl::StrCat(state, ": because")));
  }
  server_.admin.cluster.set_state("serving");
  const Outcome outcome = RunOn({"cluster", "status", "-o", "json"});
  EXPECT_EQ(outcome.code, ExitCode::kOk);
  EXPECT_EQ(Parsed(outcome.out)["can_serve"], true);
}

TEST_F(CommandsTest, AdminCommands) {
  server_.admin.workers.add_workers()->set_id("w0");
  server_.admin.requests.add_requests()->set_request_id("r-9");
  server_.admin.placement.set_layers(1);
  server_.admin.placement.set_kv_heads(1);
  server_.admin.placement.mutable_placement()->set_epoch(5);
  EXPECT_THAT(RunOn({"workers", "list"}).out, HasSubstr("w0"));
  EXPECT_EQ(Parsed(RunOn({"workers", "list", "-o", "json"}).out)[0]["id"], "w0");
  EXPECT_EQ(Parsed(RunOn({"requests", "list", "-o", "json"}).out)[0]["id"], "r-9");
  EXPECT_EQ(Parsed(RunOn({"placement", "show", "-o", "json"}).out)["epoch"], 5);
  EXPECT_THAT(RunOn({"placement", "show", "--map"}).out, HasSubstr("head 0   ?"));
  server_.admin.status = {grpc::StatusCode::FAILED_PRECONDITION, "no placement yet"};
  EXPECT_EQ(RunOn({"placement", "show"}).code, ExitCode::kConflict);
}

TEST_F(CommandsTest, PlanAPlacement) {
  server_.admin.placement.mutable_placement()->set_epoch(7);
  const Outcome outcome =
      RunOn({"placement", "plan", "--exclude", "w3,w4", "--objective", "capacity", "-o", "plan"});
  EXPECT_EQ(Parsed(outcome.out)["epoch"], 7);
  EXPECT_THAT(server_.admin.plan_request.exclude(), testing::ElementsAre("w3", "w4"));
  EXPECT_EQ(server_.admin.plan_request.objective(), "capacity");
}

TEST_F(CommandsTest, APlacementForAWorkload) {
  RunOn({"placement", "show", "--for-context", "8192", "--for-concurrency", "2"});
  EXPECT_EQ(server_.admin.show_request.context(), 8192u);
  EXPECT_EQ(server_.admin.show_request.concurrency(), 2);
}

TEST_F(CommandsTest, TraceARequest) {
  server_.admin.trace.set_request_id("r-9");
  server_.admin.trace.set_state("running");
  const std::string svg = Write("trace.svg", "");
  EXPECT_THAT(RunOn({"requests", "trace", "r-9", "--svg", svg}).out, HasSubstr("running"));
  EXPECT_THAT(*ReadFile(svg), HasSubstr("</svg>"));
  EXPECT_EQ(Parsed(RunOn({"requests", "trace", "r-9", "-o", "json"}).out)["id"], "r-9");
  const Outcome watched =
      RunOn({"requests", "trace", "r-9", "-w", "--interval", "0.1", "--count", "2", "-o", "name"});
  EXPECT_EQ(watched.out, "r-9\n\nr-9\n");
  EXPECT_EQ(RunOn({"requests", "trace", "unknown"}).code, ExitCode::kNotFound);
  EXPECT_EQ(RunOn({"requests", "trace", "r-9", "--count", "2"}).code, ExitCode::kUsage);
}

TEST_F(CommandsTest, CancelARequest) {
  EXPECT_EQ(Parsed(RunOn({"requests", "cancel", "known", "-o", "json"}).out).dump(),
            R"({"cancelled":true,"id":"known"})");
  const Outcome outcome = RunOn({"requests", "cancel", "unknown"});
  EXPECT_EQ(outcome.code, ExitCode::kNotFound);
  EXPECT_THAT(outcome.err, HasSubstr("no request unknown"));
}

TEST_F(CommandsTest, TokenizeHereAndOnAServer) {
  EXPECT_EQ(RunOn({"tokenize", "--text", "hi"}).out, "{\"token_ids\":[104,105]}\n");
  EXPECT_EQ(RunOn({"tokenize", "--text", "hi", "--special"}).out,
            "{\"token_ids\":[256,104,105]}\n");
  EXPECT_EQ(RunOn({"tokenize", "--jsonl", Write("t.jsonl", "\"a\"\n\"\\u00e9\"\n")}).out,
            "[97]\n[195,169]\n");
  EXPECT_EQ(RunOn({"detokenize", "--text", "104 105"}).out, "{\"text\":\"hi\"}\n");
  EXPECT_EQ(RunOn({"detokenize", "--text", "[256,104]", "--special"}).out, "{\"text\":\"<s>h\"}\n");
  EXPECT_EQ(RunOn({"detokenize", "--jsonl", Write("d.jsonl", "[97]\n[]\n")}).out, "\"a\"\n\"\"\n");
  EXPECT_EQ(RunOn({"detokenize", "--text", "104", "-o", "text"}).out, "h");
  const std::string model = (SourceDir() / "models" / "needle-10m").string();
  EXPECT_EQ(Parsed(RunHeadlong({"tokenize", "--model", model, "--text", "a", "--special"})
                       .out)["token_ids"][0],
            0);
  const Outcome outcome = RunOn({"tokenize", "--jsonl", Write("bad.jsonl", "\"a\"\n7\n")});
  EXPECT_EQ(outcome.code, ExitCode::kFailed);
  EXPECT_THAT(outcome.err, HasSubstr("bad.jsonl line 2"));
}

TEST_F(CommandsTest, ModelAndPlanOfAFolder) {
  const std::string model = (SourceDir() / "models" / "needle-10m").string();
  const Json info = Parsed(RunHeadlong({"model", "info", "--model", model, "-o", "json"}).out);
  EXPECT_EQ(info["name"], "needle-10m");
  EXPECT_EQ(info["layers"], 8);
  const Json plan = Parsed(
      RunHeadlong({"plan", "show", "--model", model, "--lengths", "8192", "-o", "json"}).out);
  EXPECT_EQ(plan["full_cache_bytes"]["8192"], int64_t{8192} * 64 * 2 * 2 * 32);
  EXPECT_LT(plan["share"]["8192"].get<double>(), 0.12);
  const Json full =
      Parsed(RunHeadlong({"plan", "show", "--model", model, "--plan", "full", "-o", "json"}).out);
  EXPECT_EQ(full["share"]["32768"], 1.0);
}

}  // namespace
}  // namespace headlong
