// `plan import`, `export`, `diff` and `report` on files: exit codes, stdout, what is written.
#include "common/json.h"
#include "coordinator/calibration/evidence_json.h"
#include "gmock/gmock.h"
#include "tests/cli/command_fixture.h"
#include "tests/support/paths.h"

namespace headlong {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class PlanCommandsTest : public CommandsTest {
 protected:
  std::string Written(const std::string& name, const std::string& text) {
    const std::string path = (folder_ / name).string();
    std::ofstream(path) << text;
    return path;
  }
  std::string Path(const std::string& name) { return (folder_ / name).string(); }

  const std::string model_ = (SourceDir() / "models" / "needle-10m").string();
  const std::string own_plan_ = model_ + "/plan.json";
};

TEST_F(PlanCommandsTest, ImportExportAndBack) {
  std::string table;
  for (int layer = 0; layer < 8; ++layer) table += layer == 6 ? "0.9 0.7 0 0\n" : "0 0 0.1 0\n";
  const std::string scores = Written("scores.tsv", table);
  const std::string plan = Path("plan.json");
  const Outcome imported =
      RunHeadlong({"plan", "import", scores, "--format", "duo", "--model", model_, "--out", plan});
  EXPECT_EQ(imported.code, ExitCode::kOk) << imported.err;
  EXPECT_THAT(imported.out, IsEmpty());

  // These are the two heads that the model's own plan keeps.
  const Outcome same = RunHeadlong({"plan", "diff", plan, own_plan_, "--model", model_});
  EXPECT_EQ(same.code, ExitCode::kOk) << same.err;
  EXPECT_THAT(same.out, HasSubstr("The plans keep the same."));

  const Outcome exported =
      RunHeadlong({"plan", "export", "--format", "razor", "--plan", plan, "--model", model_});
  EXPECT_EQ(exported.out, "{\"prefix_matching\":{\"6\":[0,1]},\"copying\":{}}\n");
  const std::string lists = Written("lists.json", exported.out);
  const Outcome again = RunHeadlong({"plan", "import", lists, "--model", model_ + "/config.json",
                                     "--window", "512", "--compensation", "none"});
  ASSERT_EQ(again.code, ExitCode::kOk) << again.err;
  const Json json = Parsed(again.out);
  EXPECT_EQ(json["heads"].dump(), R"([{"heads":[0,1],"layer":6,"policy":"retrieval"}])");
  EXPECT_EQ(json["policies"]["local"].dump(),
            R"({"compensation":"none","sinks":4,"window_tokens":512})");
}

TEST_F(PlanCommandsTest, DiffSaysWhatDiffersAndExitsSo) {
  const Outcome outcome = RunHeadlong(
      {"plan", "diff", "local", own_plan_, "--model", model_, "--context", "8192", "-o", "json"});
  EXPECT_EQ(outcome.code, ExitCode::kConflict);
  const Json json = Parsed(outcome.out);
  EXPECT_FALSE(json["same"]);
  EXPECT_EQ(json["heads"].size(), 2u);
  EXPECT_EQ(json["heads"][1]["layer"], 6);
  EXPECT_EQ(json["heads"][1]["head"], 1);
  EXPECT_EQ(json["b"]["cache_bytes"].get<int64_t>() - json["a"]["cache_bytes"].get<int64_t>(),
            2 * (8192 * 64 * 2 * 2 - 70144));
}

TEST_F(PlanCommandsTest, WhatIsWrongIsNamed) {
  const std::string scores = Written("scores.tsv", "1 2 3\n");
  const Outcome shape = RunHeadlong({"plan", "import", scores, "--model", model_});
  EXPECT_EQ(shape.code, ExitCode::kFailed);
  EXPECT_THAT(shape.err, HasSubstr("scores.tsv: line 1: has 3 columns"));
  EXPECT_EQ(RunHeadlong({"plan", "import", Path("none"), "--model", model_}).code,
            ExitCode::kNotFound);
  EXPECT_EQ(RunHeadlong({"plan", "diff", "full", Path("none"), "--model", model_}).code,
            ExitCode::kNotFound);
  EXPECT_EQ(RunHeadlong({"plan", "import", scores}).code, ExitCode::kUsage);
  EXPECT_EQ(RunHeadlong({"plan", "import", scores, "--model", model_, "--format", "csv"}).code,
            ExitCode::kUsage);
  const Outcome nowhere = RunHeadlong({"plan", "export", "--format", "duo", "--plan", "full",
                                       "--model", model_, "--out", Path("no/such/file")});
  EXPECT_THAT(nowhere.err, HasSubstr("not writable"));
  EXPECT_EQ(nowhere.code, ExitCode::kUnreachable);
}

TEST_F(PlanCommandsTest, ReportWritesAPage) {
  Evidence evidence;
  evidence.model = "tiny";
  evidence.shape = {1, 2};
  evidence.head_dim = 64;
  evidence.element_bytes = 2;
  evidence.context = 4096;
  evidence.costs = {{0, 0, 4, 256, true, 0.5}, {0, 1, 4, 256, true, 0.25}};
  evidence.plans = {{"all local", Plan::Local(1, 2), 0.9, {}}};
  const std::string file = Written("evidence.json", EvidenceJson(evidence));
  const Outcome outcome = RunHeadlong({"plan", "report", "--evidence", file, "--out",
                                       Path("report.html"), "--curve", Path("curve.svg")});
  ASSERT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("all local"));
  const auto page = ReadFile(Path("report.html"));
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(*page, HasSubstr("<h1>Calibration of tiny</h1>"));
  EXPECT_THAT(ReadFile(Path("curve.svg")).value(), HasSubstr("all local"));
  const Outcome none =
      RunHeadlong({"plan", "report", "--evidence", file, "--scores", Path("scores.svg")});
  EXPECT_EQ(none.code, ExitCode::kFailed);
  EXPECT_THAT(none.err, HasSubstr("no scores were measured"));
  const Outcome json = RunHeadlong({"plan", "report", "--evidence", file, "-o", "json"});
  EXPECT_EQ(Parsed(json.out)["plans"][0]["predicted_kl"], 0.75);
  const Outcome wrong =
      RunHeadlong({"plan", "report", "--evidence", Written("wrong.json", "{\"version\":1}")});
  EXPECT_EQ(wrong.code, ExitCode::kFailed);
  EXPECT_THAT(wrong.err, HasSubstr("wrong.json: model"));
}

}  // namespace
}  // namespace headlong
