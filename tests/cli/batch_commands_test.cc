// `batch` and `bench needle`.
#include <algorithm>
#include <atomic>
#include <regex>

#include "gmock/gmock.h"
#include "tests/cli/command_fixture.h"

namespace headlong {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

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
