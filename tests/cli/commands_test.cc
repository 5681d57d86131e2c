// The command line as a whole, and `generate`.
#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>

#include "cache/plan.h"
#include "gmock/gmock.h"
#include "tests/cli/command_fixture.h"
#include "tests/support/paths.h"

namespace headlong {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST_F(CommandsTest, UsageErrorsNameTheFlag) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{}, "subcommand is required"},
      {{"nonsense"}, "nonsense"},
      {{"generate", "--nonsense", "--prompt", "x"}, "--nonsense"},
      {{"generate", "--nonsense"}, "--nonsense"},
      {{"generate", "--prompt", "x", "--max-tokens", "many"}, "--max-tokens"},
      {{"generate", "--prompt", "x", "-o", "xml"}, "--output"},
      {{"generate", "--prompt", "x", "--prompt-file", "y"}, "--prompt"},
      {{"generate"}, "--prompt"},
      {{"generate", "--prompt", "x", "--server", "nowhere"}, "--server"},
      {{"generate", "--prompt", "x", "--workers", "2"}, "--model"},
      {{"generate", "--prompt", "x", "--deadline", "-1"}, "--deadline"},
      {{"serve", "--workers", "0"}, "--workers"},
      {{"serve", "--gpu", "first"}, "--gpu"},
      {{"serve", "--load-format", "pt"}, "--load-format"},
      {{"serve", "--device", "tpu"}, "--device"},
      {{"serve", "--dtype", "int3"}, "--dtype"},
      {{"serve", "--memory-limit", "2Gx"}, "--memory-limit"},
      {{"serve", "--listen", "7000"}, "--listen"},
      {{"serve", "--listen", "h:70000"}, "--listen"},
      {{"worker"}, "--id"},
      {{"bench", "needle", "--lengths", "100"}, "100"},
      {{"bench", "needle", "--trials", "0"}, "--trials"},
      {{"bench", "context", "--decode", "0"}, "--decode"},
      {{"bench", "context", "--tokens", "-5"}, "--tokens: must be above 0, is \"-5\""},
      {{"generate", "--deadline", "0"}, "--deadline: must be above 0, is \"0\""},
      {{"bench", "context", "--memory-limit", "2Gx"}, "--memory-limit"},
      {{"requests", "cancel"}, "id"},
      {{"workers", "fire"}, "fire"},
      {{"tokenize", "--text", "a", "--jsonl", "b"}, "--text"},
      {{"batch", "--in", "x"}, "--out"},
  };
  for (const auto& [arguments, message] : cases) {
    const Outcome outcome = RunHeadlong(arguments);
    EXPECT_EQ(outcome.code, ExitCode::kUsage) << message;
    EXPECT_THAT(outcome.err, HasSubstr(message));
    EXPECT_THAT(outcome.out, IsEmpty()) << message;
  }
}

TEST_F(CommandsTest, MemoryLimitsMustMatchTheWorkers) {
  const std::string model = (SourceDir() / "models" / "needle-10m").string();
  const Outcome outcome =
      RunHeadlong({"serve", "--model", model, "--workers", "3", "--memory-limit", "1GiB,2GiB"});
  EXPECT_EQ(outcome.code, ExitCode::kUsage);
  EXPECT_THAT(outcome.err, HasSubstr("2 sizes for 3 workers"));
}

TEST_F(CommandsTest, AModelThatIsNotThere) {
  for (const auto& arguments :
       std::vector<std::vector<std::string>>{{"serve", "--model", "/no/such"},
                                             {"generate", "--prompt", "x", "--model", "/no/such"},
                                             {"tokenize", "--text", "x", "--model", "/no/such"},
                                             {"model", "info", "--model", "/no/such"},
                                             {"worker", "--id", "w", "--model", "/no/such"}}) {
    const Outcome outcome = RunHeadlong(arguments);
    EXPECT_EQ(outcome.code, ExitCode::kNotFound);
    EXPECT_THAT(outcome.err, HasSubstr("/no/such: no such folder"));
  }
}

TEST_F(CommandsTest, NoServerSaysWhatToDo) {
  server_.Stop();
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"generate", "--prompt", "x"}, {"cluster", "status"}, {"tokenize", "--text", "x"}}) {
    const Outcome outcome = RunOn(arguments);
    EXPECT_EQ(outcome.code, ExitCode::kUnreachable);
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("no server at " + server_.address),
                                   HasSubstr("headlong serve --model DIR")));
    EXPECT_THAT(outcome.out, IsEmpty());
  }
}

TEST_F(CommandsTest, GenerateText) {
  const Outcome outcome = RunOn({"generate", "--prompt", "x", "--seed", "3", "--stop", "a",
                                 "--stop", "b", "--max-tokens", "9", "--top-k", "-1"});
  EXPECT_EQ(outcome.code, ExitCode::kOk);
  EXPECT_EQ(outcome.out, "hello\n");
  EXPECT_THAT(outcome.err, IsEmpty());
  const v1::GenerateRequest request = server_.inference.requests().at(0);
  EXPECT_EQ(request.text(), "x");
  EXPECT_EQ(request.temperature(), 0);
  EXPECT_TRUE(request.has_temperature());
  EXPECT_EQ(request.seed(), 3u);
  EXPECT_EQ(request.max_tokens(), 9);
  EXPECT_EQ(request.top_k(), -1);
  EXPECT_EQ(request.stop_size(), 2);
  EXPECT_FALSE(request.has_top_p());
  EXPECT_FALSE(request.report_progress());
}

TEST_F(CommandsTest, GenerateJsonIsOneDocument) {
  const Outcome outcome =
      RunOn({"generate", "--prompt", "x", "-o", "json", "--logprobs", "1", "--request-id", "me"});
  EXPECT_EQ(outcome.code, ExitCode::kOk);
  const Json json = Parsed(outcome.out);
  ASSERT_FALSE(json.is_discarded()) << outcome.out;
  EXPECT_EQ(json["id"], "me");
  EXPECT_EQ(json["text"], "hello");
  EXPECT_EQ(json["token_ids"].size(), 5u);
  EXPECT_EQ(json["finish_reason"], "stop");
  EXPECT_EQ(json["usage"]["cache_bytes"], 1000);
  EXPECT_EQ(json["timing_ms"]["total"], 30.5);
  EXPECT_EQ(json["logprobs"].size(), 5u);
  EXPECT_EQ(json["logprobs"][0]["top"].dump(), "[[0,-1.5]]");
}

TEST_F(CommandsTest, PromptsOfAllKinds) {
  const std::string text = Write("prompt.txt", "from a file\n");
  const std::string ids = Write("ids.json", "[256, 104, 105]");
  EXPECT_EQ(RunOn({"generate", "--prompt-file", text}).code, ExitCode::kOk);
  EXPECT_EQ(RunOn({"generate", "--prompt-ids", ids}).code, ExitCode::kOk);
  EXPECT_EQ(RunOn({"generate", "--prompt", ""}).code, ExitCode::kOk);  // refusing is the server's
  const std::vector<v1::GenerateRequest> requests = server_.inference.requests();
  EXPECT_EQ(requests.at(0).text(), "from a file\n");
  EXPECT_EQ(requests.at(1).token_ids().ids_size(), 3);
  EXPECT_EQ(requests.at(2).prompt_case(), v1::GenerateRequest::kText);
}

TEST_F(CommandsTest, PromptsThatCannotBeSent) {
  const std::string bad = Write("bad.txt", "ab\xff");
  Outcome outcome = RunOn({"generate", "--prompt-file", bad});
  EXPECT_EQ(outcome.code, ExitCode::kFailed);
  EXPECT_THAT(outcome.err, HasSubstr("bad.txt: not valid UTF-8 at byte 2"));
  outcome = RunOn({"generate", "--prompt", "\xc3("});
  EXPECT_THAT(outcome.err, HasSubstr("--prompt: not valid UTF-8 at byte 0"));
  outcome = RunOn({"generate", "--prompt-file", "/no/such/file"});
  EXPECT_EQ(outcome.code, ExitCode::kNotFound);
  EXPECT_THAT(outcome.err, HasSubstr("/no/such/file"));
  outcome = RunOn({"generate", "--prompt-ids", bad});
  EXPECT_EQ(outcome.code, ExitCode::kFailed);
  EXPECT_THAT(server_.inference.requests(), IsEmpty());
}

TEST_F(CommandsTest, RefusalsBecomeExitCodes) {
  const std::pair<grpc::StatusCode, ExitCode> cases[] = {
      {grpc::StatusCode::INVALID_ARGUMENT, ExitCode::kFailed},
      {grpc::StatusCode::RESOURCE_EXHAUSTED, ExitCode::kFailed},
      {grpc::StatusCode::INTERNAL, ExitCode::kFailed},
      {grpc::StatusCode::NOT_FOUND, ExitCode::kNotFound},
      {grpc::StatusCode::PERMISSION_DENIED, ExitCode::kDenied},
      {grpc::StatusCode::UNAUTHENTICATED, ExitCode::kDenied},
      {grpc::StatusCode::DEADLINE_EXCEEDED, ExitCode::kUnreachable},
      {grpc::StatusCode::UNAVAILABLE, ExitCode::kUnreachable},
      {grpc::StatusCode::ALREADY_EXISTS, ExitCode::kConflict},
      {grpc::StatusCode::FAILED_PRECONDITION, ExitCode::kConflict},
      {grpc::StatusCode::CANCELLED, ExitCode::kFailed},
  };
  for (const auto& [code, exit] : cases) {
    Refuse(code, "the server's reason");
    const Outcome text = RunOn({"generate", "--prompt", "x"});
    EXPECT_EQ(text.code, exit) << code;
    EXPECT_THAT(text.err, HasSubstr("the server's reason"));
    EXPECT_THAT(text.out, IsEmpty());
    const Outcome json = RunOn({"generate", "--prompt", "x", "-o", "json"});
    EXPECT_EQ(json.code, exit);
    EXPECT_THAT(std::string(Parsed(json.out)["error"]["message"]),
                HasSubstr("the server's reason"));
  }
}

TEST_F(CommandsTest, AServerThatIsAnotherOne) {
  Refuse(grpc::StatusCode::UNIMPLEMENTED, "");
  EXPECT_THAT(RunOn({"generate", "--prompt", "x"}).err, HasSubstr("is not a Headlong server"));
}

TEST_F(CommandsTest, AStreamThatEndsWithoutSayingWhy) {
  Refuse(grpc::StatusCode::OK, "");
  const Outcome outcome = RunOn({"generate", "--prompt", "x"});
  EXPECT_EQ(outcome.code, ExitCode::kFailed);
  EXPECT_THAT(outcome.err, HasSubstr("without saying why"));
}

// Writes a token and then waits for the client to go away.
grpc::Status AnswerForever(grpc::ServerContext* context, FakeInference::Writer* writer) {
  v1::GenerateResponse response;
  response.set_request_id("r-1");
  response.mutable_chunk()->add_token_ids(104);
  response.mutable_chunk()->set_text("h");
  writer->Write(response);
  while (!context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return grpc::Status::CANCELLED;
}

TEST_F(CommandsTest, CtrlCEndsARunningRequest) {
  std::atomic<bool> cancelled{false};
  server_.inference.generator = [&](grpc::ServerContext* context, const v1::GenerateRequest&,
                                    FakeInference::Writer* writer) {
    NoteInterrupt(SIGINT);
    const grpc::Status status = AnswerForever(context, writer);
    cancelled = true;
    return status;
  };
  const auto begin = std::chrono::steady_clock::now();
  const Outcome outcome = RunOn({"generate", "--prompt", "x", "-o", "json"});
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_EQ(outcome.code, ExitCode::kInterrupted);
  EXPECT_EQ(Parsed(outcome.out)["finish_reason"], "cancelled");
  server_.Stop();  // waits for the handler
  EXPECT_TRUE(cancelled);
}

TEST_F(CommandsTest, ADeadlinePasses) {
  server_.inference.generator = [](grpc::ServerContext* context, const v1::GenerateRequest&,
                                   FakeInference::Writer* writer) {
    return AnswerForever(context, writer);
  };
  const Outcome outcome = RunOn({"generate", "--prompt", "x", "--deadline", "0.2"});
  EXPECT_EQ(outcome.code, ExitCode::kUnreachable);
  EXPECT_EQ(outcome.out, "h\n");  // what came before stays
}

TEST_F(CommandsTest, MapOfTheCache) {
  v1::GetModelResponse& model = server_.inference.model;
  model.mutable_shape()->set_layers(2);
  model.mutable_shape()->set_kv_heads(2);
  model.mutable_shape()->set_head_dim(64);
  model.set_kv_cache_dtype("fp32");
  model.set_plan_json(Plan::Local(2, 2).ToJson());
  const Outcome outcome = RunOn({"generate", "--prompt", "x", "--map"});
  EXPECT_EQ(outcome.code, ExitCode::kOk);
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("hello\n\nlayer"), HasSubstr("head 1"),
                                 HasSubstr("6 tokens: cache"), Not(HasSubstr("\x1b"))));
}

}  // namespace
}  // namespace headlong
