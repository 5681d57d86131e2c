// The JSON that scripts depend on, literally as DESIGN section 12 has it.
#include <cmath>
#include <limits>

#include "cli/admin_output.h"
#include "cli/exit_code.h"
#include "cli/generation.h"
#include "cli/interrupt.h"
#include "cli/placement_output.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headlong {
namespace {

GenerationResult Finished(v1::FinishReason reason) {
  GenerationResult result;
  result.id = "r-1";
  result.text = "4817263";
  result.token_ids = {52, 1};
  result.finished.emplace();
  result.finished->set_reason(reason);
  v1::Usage* usage = result.finished->mutable_usage();
  usage->set_prompt_tokens(8192);
  usage->set_cached_tokens(16);
  usage->set_completion_tokens(2);
  usage->set_cache_bytes(100);
  usage->set_full_cache_bytes(1000);
  v1::Timing* timing = result.finished->mutable_timing();
  timing->set_queue_ms(0.5);
  timing->set_prefill_ms(10);
  timing->set_decode_ms(20);
  timing->set_total_ms(30.5);
  return result;
}

TEST(GenerationJson, AsDocumented) {
  GenerationResult result = Finished(v1::FINISH_REASON_STOP);
  v1::TokenLogprobs* logprobs = &result.logprobs.emplace_back();
  logprobs->set_token_id(52);
  logprobs->set_logprob(-0.1f);
  v1::TopLogprob* top = logprobs->add_top();
  top->set_token_id(53);
  top->set_logprob(-2.5f);
  EXPECT_EQ(JsonLine(GenerationJson(result)),
            R"({"id":"r-1","text":"4817263","token_ids":[52,1],"finish_reason":"stop",)"
            R"("usage":{"prompt_tokens":8192,"cached_tokens":16,"completion_tokens":2,)"
            R"("cache_bytes":100,"full_cache_bytes":1000},)"
            R"("timing_ms":{"queue":0.5,"prefill":10.0,"decode":20.0,"total":30.5},)"
            R"("logprobs":[{"token_id":52,"logprob":-0.1,"top":[[53,-2.5]]}]})"
            "\n");
}

TEST(GenerationJson, NoLogprobsUnlessAskedFor) {
  EXPECT_FALSE(GenerationJson(Finished(v1::FINISH_REASON_LENGTH)).contains("logprobs"));
  EXPECT_FALSE(GenerationJson(Finished(v1::FINISH_REASON_LENGTH)).contains("error"));
  EXPECT_EQ(GenerationJson(Finished(v1::FINISH_REASON_LENGTH))["finish_reason"], "length");
}

TEST(GenerationJson, AFailedOneHasAnError) {
  GenerationResult result;
  result.id = "a";
  result.error = absl::InvalidArgumentError("temperature: must be in [0, 2], is 3");
  EXPECT_EQ(
      GenerationJson(result).dump(),
      R"({"id":"a","text":"","token_ids":[],"finish_reason":"error",)"
      R"("error":{"code":"invalid_argument","message":"temperature: must be in [0, 2], is 3"}})");
  const OutputJson cancelled = GenerationJson(Finished(v1::FINISH_REASON_CANCELLED));
  EXPECT_EQ(cancelled["finish_reason"], "cancelled");
  EXPECT_EQ(cancelled["error"]["code"], "cancelled");
  EXPECT_EQ(GenerationJson(Finished(v1::FINISH_REASON_ERROR))["error"]["code"], "internal");
}

TEST(FloatJson, ShortestDigits) {
  EXPECT_EQ(FloatJson(-0.1f).dump(), "-0.1");
  EXPECT_EQ(FloatJson(std::numeric_limits<float>::infinity()).dump(), "null");
  EXPECT_EQ(static_cast<float>(FloatJson(-1.2345678f).get<double>()), -1.2345678f);
}

TEST(JsonLine, SurvivesBytesThatAreNotUtf8) {
  EXPECT_EQ(JsonLine({{"text", "a\xff"}}), "{\"text\":\"a\xEF\xBF\xBD\"}\n");
}

TEST(AdminJson, Workers) {
  v1::ListWorkersResponse workers;
  v1::Worker* worker = workers.add_workers();
  worker->set_id("w0");
  worker->set_address("127.0.0.1:5");
  worker->set_pid(42);
  worker->set_state("ready");
  worker->set_device("cpu");
  worker->set_epoch(2);
  worker->set_memory_bytes(1000);
  worker->set_cache_bytes_used(10);
  worker->set_heads(16);
  const std::string json = WorkersView(workers).json.dump();
  EXPECT_TRUE(json.starts_with(
      R"([{"id":"w0","address":"127.0.0.1:5","pid":42,"state":"ready","device":"cpu","epoch":2,)"
      R"("memory_bytes":1000,"cache_bytes_used":10,"heads":16)"))
      << json;
  EXPECT_EQ(WorkersView({}).json.dump(), "[]");
}

TEST(AdminJson, Placement) {
  v1::Placement placement;
  placement.set_epoch(4);
  placement.set_step_ms(2);
  placement.set_lower_bound_ms(1.5);
  placement.set_gap(0.25);
  v1::WorkerShare* share = placement.add_workers();
  share->set_worker_id("w0");
  share->set_device("cpu");
  share->set_memory_bytes(100);
  share->set_weights_bytes(50);
  share->set_cache_bytes(40);
  v1::HeadShare* head = share->add_heads();
  head->set_layer(6);
  head->set_head(1);
  head->set_policy("retrieval");
  head->set_retrieval(true);
  v1::Range* columns = share->add_mlp_columns();
  columns->set_begin(10);
  columns->set_end(394);
  share->mutable_vocab_rows()->set_end(8192);
  const OutputJson json = PlacementJson(placement, {});
  EXPECT_EQ(json["epoch"], 4);
  EXPECT_EQ(json["step_ms"], 2.0);
  EXPECT_EQ(json["lower_bound_ms"], 1.5);
  EXPECT_EQ(json["gap"], 0.25);
  const OutputJson& worker = json["workers"][0];
  EXPECT_EQ(worker["id"], "w0");
  EXPECT_EQ(worker["device"], "cpu");
  EXPECT_EQ(worker["memory_bytes"], 100);
  EXPECT_EQ(worker["weights_bytes"], 50);
  EXPECT_EQ(worker["cache_bytes"], 40);
  EXPECT_EQ(worker["heads"].dump(),
            R"([{"layer":6,"head":1,"role":"retrieval","policy":"retrieval","stripe":[0,1]}])");
  EXPECT_EQ(worker["mlp_columns"].dump(), "[384]");
  EXPECT_EQ(worker["vocab_rows"], 8192);
}

TEST(ExitCodes, OfEveryError) {
  ResetInterrupts();
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), ExitCode::kOk);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), ExitCode::kFailed);
  EXPECT_EQ(ExitCodeOf(absl::ResourceExhaustedError("")), ExitCode::kFailed);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("")), ExitCode::kFailed);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("")), ExitCode::kNotFound);
  EXPECT_EQ(ExitCodeOf(absl::PermissionDeniedError("")), ExitCode::kDenied);
  EXPECT_EQ(ExitCodeOf(absl::UnauthenticatedError("")), ExitCode::kDenied);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), ExitCode::kUnreachable);
  EXPECT_EQ(ExitCodeOf(absl::DeadlineExceededError("")), ExitCode::kUnreachable);
  EXPECT_EQ(ExitCodeOf(absl::AlreadyExistsError("")), ExitCode::kConflict);
  EXPECT_EQ(ExitCodeOf(absl::AbortedError("")), ExitCode::kConflict);
  EXPECT_EQ(ExitCodeOf(absl::FailedPreconditionError("")), ExitCode::kConflict);
  EXPECT_EQ(ExitCodeOf(absl::CancelledError("")), ExitCode::kFailed);
  NoteInterrupt(2);
  EXPECT_EQ(ExitCodeOf(absl::CancelledError("")), ExitCode::kInterrupted);
  ResetInterrupts();
}

}  // namespace
}  // namespace headlong
