// Whole commands against a server that answers what the test wants: exit codes, stdout, stderr.
#include "cli/commands.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "cache/plan.h"
#include "cli/interrupt.h"
#include "common/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cli/fake_server.h"
#include "tests/support/paths.h"

namespace headlong {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

struct Outcome {
  ExitCode code = ExitCode::kOk;
  std::string out;
  std::string err;
};

Outcome RunHeadlong(const std::vector<std::string>& arguments) {
  std::vector<const char*> argv{"headlong"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  Outcome outcome;
  Terminal terminal{TerminalTraits()};
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  outcome.code = RunCommandLine(static_cast<int>(argv.size()), argv.data(), terminal);
  outcome.out = testing::internal::GetCapturedStdout();
  outcome.err = testing::internal::GetCapturedStderr();
  return outcome;
}

Json Parsed(const std::string& text) { return Json::parse(text, nullptr, false); }

class CommandsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ResetInterrupts();
    unsetenv("HEADLONG_SERVER");
    folder_ = std::filesystem::temp_directory_path() / absl::StrCat("headlong-cli-", getpid());
    std::filesystem::create_directories(folder_);
    server_.inference.generator = [](grpc::ServerContext*, const v1::GenerateRequest& request,
                                     FakeInference::Writer* writer) {
      return Answer(request, "hello", writer);
    };
  }
  void TearDown() override {
    std::filesystem::remove_all(folder_);
    ResetInterrupts();
  }

  Outcome RunOn(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--server", server_.address});
    return RunHeadlong(arguments);
  }
  void Refuse(grpc::StatusCode code, const std::string& message) {
    server_.inference.generator = [=](grpc::ServerContext*, const v1::GenerateRequest&,
                                      FakeInference::Writer*) {
      return grpc::Status(code, message);
    };
  }
  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return (folder_ / name).string();
  }
  std::string Read(const std::string& name) {
    std::ifstream file(folder_ / name);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  std::filesystem::path folder_;
  FakeServer server_;
};

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
      {{"serve", "--device", "cuda"}, "CPUs only"},
      {{"serve", "--device", "tpu"}, "--device"},
      {{"serve", "--dtype", "int3"}, "--dtype"},
      {{"serve", "--memory-limit", "2Gx"}, "--memory-limit"},
      {{"serve", "--listen", "7000"}, "--listen"},
      {{"serve", "--listen", "h:70000"}, "--listen"},
      {{"worker"}, "--id"},
      {{"bench", "needle", "--lengths", "100"}, "100"},
      {{"bench", "needle", "--trials", "0"}, "--trials"},
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
  model.set_dtype("fp32");
  model.set_plan_json(Plan::Local(2, 2).ToJson());
  const Outcome outcome = RunOn({"generate", "--prompt", "x", "--map"});
  EXPECT_EQ(outcome.code, ExitCode::kOk);
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("hello\n\nlayer"), HasSubstr("head 1"),
                                 HasSubstr("6 tokens: cache"), Not(HasSubstr("\x1b"))));
}

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
  EXPECT_EQ(plan["full_cache_bytes"]["8192"], int64_t{8192} * 64 * 2 * 4 * 32);
  EXPECT_LT(plan["share"]["8192"].get<double>(), 0.12);
  const Json full =
      Parsed(RunHeadlong({"plan", "show", "--model", model, "--plan", "full", "-o", "json"}).out);
  EXPECT_EQ(full["share"]["32768"], 1.0);
}

TEST_F(CommandsTest, BatchGoesOnWhereItStopped) {
  server_.inference.generator = [](grpc::ServerContext*, const v1::GenerateRequest& request,
                                   FakeInference::Writer* writer) {
    if (PromptText(request) == "bad") {
      return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "prompt: no");
    }
    return Answer(request, "re:" + PromptText(request), writer);
  };
  std::string lines;
  for (int i = 0; i < 20; ++i)
    absl::StrAppend(&lines, "{\"id\":\"", i, "\",\"prompt\":\"p", i, "\"}\n");
  const std::string in = Write("in.jsonl", lines + "{\"id\":\"x\",\"prompt\":\"bad\"}\n");
  const std::string out = (folder_ / "out.jsonl").string();
  Outcome outcome = RunOn({"batch", "--in", in, "--out", out, "--concurrency", "3"});
  EXPECT_EQ(outcome.code, ExitCode::kFailed);
  EXPECT_THAT(outcome.err, HasSubstr("20 done, 1 failed"));
  EXPECT_THAT(outcome.out, IsEmpty());
  EXPECT_THAT(Read("out.jsonl"),
              AllOf(HasSubstr("\"text\":\"re:p7\""), HasSubstr("{\"code\":\"invalid_argument\"")));
  ASSERT_EQ(server_.inference.requests().size(), 21u);

  Write("out.jsonl", Read("out.jsonl") + "{\"id\":\"torn");
  outcome = RunOn({"batch", "--in", in, "--out", out, "-o", "json"});
  EXPECT_EQ(Parsed(outcome.out).dump(), R"({"done":0,"done_before":20,"failed":1})");
  EXPECT_EQ(server_.inference.requests().size(), 22u);  // only the failed one again
  const std::string results = Read("out.jsonl");
  EXPECT_EQ(std::count(results.begin(), results.end(), '\n'), 21);
  EXPECT_THAT(results, Not(HasSubstr("torn")));
}

TEST_F(CommandsTest, BatchSendsNothingWhenALineIsBad) {
  const std::string in = Write("in.jsonl", "{\"prompt\":\"a\"}\n{\"prompt\":1}\n");
  const Outcome outcome = RunOn({"batch", "--in", in, "--out", (folder_ / "o").string()});
  EXPECT_EQ(outcome.code, ExitCode::kFailed);
  EXPECT_THAT(outcome.err, HasSubstr("in.jsonl line 2: prompt"));
  EXPECT_THAT(server_.inference.requests(), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(folder_ / "o"));
}

TEST_F(CommandsTest, BatchStopsWhenTheServerIsGone) {
  Refuse(grpc::StatusCode::UNAVAILABLE, "gone");
  const std::string in = Write("in.jsonl", "{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}\n");
  const Outcome outcome =
      RunOn({"batch", "--in", in, "--out", (folder_ / "o").string(), "--concurrency", "1"});
  EXPECT_EQ(outcome.code, ExitCode::kUnreachable);
  EXPECT_THAT(outcome.err, HasSubstr("the same command goes on"));
  EXPECT_EQ(server_.inference.requests().size(), 1u);
  EXPECT_THAT(Read("o"), IsEmpty());
}

TEST_F(CommandsTest, BatchIsPatientWithAFullQueue) {
  std::atomic<int> calls{0};
  server_.inference.generator = [&](grpc::ServerContext*, const v1::GenerateRequest& request,
                                    FakeInference::Writer* writer) {
    if (++calls == 1) return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "queue is full");
    return Answer(request, "ok", writer);
  };
  const std::string in = Write("in.jsonl", "{\"prompt\":\"a\"}\n");
  EXPECT_EQ(RunOn({"batch", "--in", in, "--out", (folder_ / "o").string()}).code, ExitCode::kOk);
  EXPECT_EQ(calls, 2);
}

TEST_F(CommandsTest, BenchNeedle) {
  // Finds every needle but Priya's.
  server_.inference.generator = [](grpc::ServerContext*, const v1::GenerateRequest& request,
                                   FakeInference::Writer* writer) {
    const std::string prompt = PromptText(request);
    std::smatch needle;
    std::regex_search(prompt, needle, std::regex("pass key of (\\w+) is (\\d{7})\\."));
    return Answer(request, needle[1] == "Priya" ? "1" : needle[2].str() + ".", writer);
  };
  const std::string hay = Write("hay.txt", "It was night. Nobody came. She said no! ");
  const Outcome outcome = RunOn(
      {"bench", "needle", "--lengths", "1024,2048", "--trials", "50", "--hay", hay, "-o", "json"});
  ASSERT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  const Json json = Parsed(outcome.out);
  int trials = 0;
  int correct = 0;
  for (const Json& row : json["rows"]) {
    trials += row["trials"].get<int>();
    correct += row["correct"].get<int>();
  }
  EXPECT_EQ(trials, 100);
  EXPECT_GT(correct, 80);
  EXPECT_LT(correct, 100);
  EXPECT_DOUBLE_EQ(json["recall"]["1024"].get<double>() + json["recall"]["2048"].get<double>(),
                   correct / 50.0);
  EXPECT_EQ(json["cache_bytes"]["1024"], 1000);
  EXPECT_EQ(json["full_cache_bytes"]["2048"], 4000);
  for (const v1::GenerateRequest& request : server_.inference.requests()) {
    const int size = request.token_ids().ids_size();
    EXPECT_TRUE(size == 1024 || size == 2048) << size;
    EXPECT_EQ(request.token_ids().ids(0), kFakeBos);
    EXPECT_EQ(request.temperature(), 0);
  }
  const Outcome table =
      RunOn({"bench", "needle", "--lengths", "1024", "--trials", "5", "--hay", hay});
  EXPECT_THAT(table.out, AllOf(HasSubstr("recall"), HasSubstr("1,024"), HasSubstr("25.0 %")));
}

}  // namespace
}  // namespace headlong
