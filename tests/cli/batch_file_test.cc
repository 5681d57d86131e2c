#include "cli/batch_file.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headlong {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<std::vector<BatchRequest>> Parse(const std::string& text) {
  return ParseBatch(text, SamplingFlags(), "in.jsonl");
}

TEST(ParseBatch, AllFields) {
  const auto requests = Parse(
      R"({"id":"a","prompt":"Hi","max_tokens":5,"temperature":0.5,"top_p":0.9,"top_k":40,)"
      R"("min_p":0.1,"seed":18446744073709551615,"stop":["x","y"],"logprobs":2,"ignore_eos":true})"
      "\n\n"
      R"({"id":7,"prompt_ids":[1,2,3],"prompt_tokens":2,"stop":"end"})");
  ASSERT_TRUE(requests.ok()) << requests.status();
  ASSERT_EQ(requests->size(), 2u);
  const v1::GenerateRequest& first = (*requests)[0].request;
  EXPECT_EQ((*requests)[0].id, "a");
  EXPECT_EQ(first.text(), "Hi");
  EXPECT_EQ(first.max_tokens(), 5);
  EXPECT_FLOAT_EQ(first.temperature(), 0.5f);
  EXPECT_FLOAT_EQ(first.top_p(), 0.9f);
  EXPECT_EQ(first.top_k(), 40);
  EXPECT_FLOAT_EQ(first.min_p(), 0.1f);
  EXPECT_EQ(first.seed(), UINT64_MAX);
  EXPECT_THAT(first.stop(), ElementsAre("x", "y"));
  EXPECT_EQ(first.logprobs(), 2);
  EXPECT_TRUE(first.ignore_eos());
  EXPECT_TRUE(first.request_id().empty());  // ids of files are not unique on a server
  const v1::GenerateRequest& second = (*requests)[1].request;
  EXPECT_EQ((*requests)[1].id, "7");
  EXPECT_THAT(second.token_ids().ids(), ElementsAre(1u, 2u, 3u));
  EXPECT_EQ(second.prompt_tokens(), 2u);
  EXPECT_THAT(second.stop(), ElementsAre("end"));
  EXPECT_TRUE(second.has_temperature());
  EXPECT_EQ(second.temperature(), 0);  // the flag's default
  EXPECT_FALSE(second.has_max_tokens());
}

TEST(ParseBatch, FlagsHoldWhereALineSaysNothing) {
  SamplingFlags flags;
  flags.max_tokens = 9;
  flags.temperature = 1;
  flags.stop = {"flag"};
  const auto requests = ParseBatch(
      "{\"prompt\":\"a\"}\n{\"prompt\":\"b\",\"max_tokens\":1,\"stop\":[]}", flags, "in");
  ASSERT_TRUE(requests.ok());
  EXPECT_EQ((*requests)[0].id, "line-1");
  EXPECT_EQ((*requests)[0].request.max_tokens(), 9);
  EXPECT_THAT((*requests)[0].request.stop(), ElementsAre("flag"));
  EXPECT_EQ((*requests)[1].request.max_tokens(), 1);
  EXPECT_EQ((*requests)[1].request.stop_size(), 0);
}

TEST(ParseBatch, BadLinesAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"{\"prompt\":\"a\"}\n{\"prompt\":", "in.jsonl line 2"},
      {"[1]", "line 1: is not an object"},
      {"{\"id\":\"a\"}", "line 1: needs one of prompt and prompt_ids, has neither"},
      {"{\"prompt\":\"a\",\"prompt_ids\":[1]}", "has both"},
      {"{\"prompt\":\"a\",\"promt\":1}", "line 1: promt: is not a field"},
      {"{\"prompt\":\"a\",\"max_tokens\":0}", "max_tokens"},
      {"{\"prompt\":\"a\",\"max_tokens\":1.5}", "max_tokens"},
      {"{\"prompt\":\"a\",\"seed\":-1}", "seed"},
      {"{\"prompt\":\"a\",\"stop\":[1]}", "stop"},
      {"{\"prompt\":\"a\",\"temperature\":\"hot\"}", "temperature"},
      {"{\"prompt_ids\":[1,-1]}", "prompt_ids[1]"},
      {"{\"prompt_ids\":[4294967296]}", "prompt_ids[0]"},
      {"{\"prompt_ids\":7}", "prompt_ids"},
      {"{\"prompt\":7}", "prompt"},
      {"{\"id\":\"\",\"prompt\":\"a\"}", "id"},
      {"{\"id\":\"x\",\"prompt\":\"a\"}\n\n{\"id\":\"x\",\"prompt\":\"b\"}",
       "line 3: id: \"x\" is that of line 1 too"},
  };
  for (const auto& [text, message] : cases) {
    const absl::Status status = Parse(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << text;
  }
}

TEST(ReadFinished, SkipsWhatIsDoneAndRedoesTheRest) {
  const auto finished = ReadFinished(
      "{\"id\":\"a\",\"text\":\"x\"}\n"
      "{\"id\":\"b\",\"error\":{\"code\":\"internal\"}}\n"
      "{\"id\":\"c\",\"text\":\"y\"}\n"
      "{\"id\":\"d\",\"te",
      "out");
  ASSERT_TRUE(finished.ok());
  EXPECT_THAT(finished->ids, ElementsAre("a", "c"));
  EXPECT_EQ(finished->failed, 1);
  EXPECT_TRUE(finished->torn);
  EXPECT_EQ(finished->kept, "{\"id\":\"a\",\"text\":\"x\"}\n{\"id\":\"c\",\"text\":\"y\"}\n");
}

TEST(ReadFinished, ALineWithoutNewlineIsTornEvenIfItParses) {
  const auto finished = ReadFinished("{\"id\":\"a\"}\n{\"id\":\"b\"}", "out");
  ASSERT_TRUE(finished.ok());
  EXPECT_THAT(finished->ids, ElementsAre("a"));
  EXPECT_TRUE(finished->torn);
}

TEST(ReadFinished, AnotherKindOfFileIsLeftAlone) {
  for (const char* text : {"hello\nworld\n", "{\"name\":1}\n", "[1]\n", "{\"id\":1}\n"}) {
    const absl::Status status = ReadFinished(text, "notes.txt").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("notes.txt line 1"));
  }
}

class ResultFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        std::filesystem::temp_directory_path() / ("headlong-batch-" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    path_ = folder_ / "out.jsonl";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& text) { std::ofstream(path_) << text; }
  std::string Read() {
    std::ifstream file(path_);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  std::filesystem::path folder_;
  std::filesystem::path path_;
};

TEST_F(ResultFileTest, AppendsToWhatIsWhole) {
  const std::string whole = "{\"id\":\"a\"}\n";
  Write(whole);
  const auto file = ResultFile::Open(path_, *ReadFinished(whole, "out"));
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->Append({{"id", "b"}}).ok());
  EXPECT_EQ(Read(), "{\"id\":\"a\"}\n{\"id\":\"b\"}\n");
}

TEST_F(ResultFileTest, RepairsTornAndFailedLines) {
  const std::string broken = "{\"id\":\"a\"}\n{\"id\":\"b\",\"error\":{}}\n{\"id\":\"c\"";
  Write(broken);
  const auto file = ResultFile::Open(path_, *ReadFinished(broken, "out"));
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->Append({{"id", "c"}}).ok());
  EXPECT_EQ(Read(), "{\"id\":\"a\"}\n{\"id\":\"c\"}\n");
  EXPECT_FALSE(std::filesystem::exists(path_.string() + ".next"));
}

TEST_F(ResultFileTest, AFolderThatIsNotThere) {
  const auto file = ResultFile::Open(folder_ / "no" / "out.jsonl", {});
  EXPECT_FALSE(file.ok());
  EXPECT_THAT(std::string(file.status().message()), HasSubstr("no/out.jsonl"));
}

}  // namespace
}  // namespace headlong
