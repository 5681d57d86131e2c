// Completions come from the tree of commands: every command, every option that is shown.
#include "cli/completion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/command_fixture.h"

namespace headlong {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

std::vector<std::string> Words(const std::vector<std::string>& typed) {
  Terminal terminal{TerminalTraits()};
  CommandLine cli(terminal);
  AddCommands(cli);
  std::vector<std::string> words;
  for (const Candidate& each : Complete(cli.app, typed).candidates) words.push_back(each.word);
  return words;
}

OpenValue OpenAt(const std::vector<std::string>& typed) {
  Terminal terminal{TerminalTraits()};
  CommandLine cli(terminal);
  AddCommands(cli);
  return Complete(cli.app, typed).open;
}

// Walks the tree: whatever it shows to people must be offered.
void EverythingIsOffered(const CLI::App& app, std::vector<std::string> path) {
  path.push_back("");
  const std::vector<std::string> commands = Words(path);
  path.back() = "--";
  const std::vector<std::string> options = Words(path);
  path.pop_back();
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      const bool shown = !option->get_group().empty();
      EXPECT_EQ(std::count(options.begin(), options.end(), "--" + name), shown ? 1 : 0)
          << app.get_name() << " --" << name;
    }
  }
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_name().empty()) continue;  // a group of options
    EXPECT_THAT(commands, Contains(command->get_name()));
    std::vector<std::string> below = path;
    below.push_back(command->get_name());
    EverythingIsOffered(*command, below);
  }
}

TEST(Completion, OffersTheWholeTree) {
  Terminal terminal{TerminalTraits()};
  CommandLine cli(terminal);
  AddCommands(cli);
  EverythingIsOffered(cli.app, {});
}

TEST(Completion, WordsAndValues) {
  EXPECT_THAT(Words({"work"}), ElementsAre("worker", "workers"));
  EXPECT_THAT(Words({"workers", "dr"}), ElementsAre("drain"));
  EXPECT_THAT(Words({"workers", "list", "-o", ""}), ElementsAre("json", "name", "table", "wide"));
  EXPECT_THAT(Words({"serve", "--device", "c"}), ElementsAre("cpu", "cuda"));
  EXPECT_THAT(Words({"serve", "--device=c"}), ElementsAre("--device=cpu", "--device=cuda"));
  EXPECT_THAT(Words({"completion", ""}), ElementsAre("bash", "fish", "zsh"));
  EXPECT_THAT(Words({"generate", "--prompt-"}), ElementsAre("--prompt-file", "--prompt-ids"));
  EXPECT_THAT(Words({"nonsense", "li"}), IsEmpty());
  EXPECT_THAT(Words({"serve", "--workers", ""}), IsEmpty()) << "a number is not guessed";
}

TEST(Completion, AnOptionIsOfferedOnce) {
  EXPECT_THAT(Words({"serve", "--wor"}), Contains("--workers"));
  EXPECT_THAT(Words({"serve", "--workers", "2", "--wor"}), Not(Contains("--workers")));
  EXPECT_THAT(Words({"generate", "--stop", "a", "--sto"}), ElementsAre("--stop"));
}

TEST(Completion, OpenPlacesSayWhatFillsThem) {
  EXPECT_EQ(OpenAt({"workers", "drain", ""}), OpenValue::kWorker);
  EXPECT_EQ(OpenAt({"workers", "drain", "w0", ""}), OpenValue::kNone);
  EXPECT_EQ(OpenAt({"requests", "cancel", ""}), OpenValue::kRequest);
  EXPECT_EQ(OpenAt({"cluster", "status", "--context", ""}), OpenValue::kContext);
  EXPECT_EQ(OpenAt({"serve", "--plan", ""}), OpenValue::kFile);
  EXPECT_EQ(OpenAt({"serve", "--workers", ""}), OpenValue::kNone);
}

class CompletionCommand : public CommandsTest {};

TEST_F(CompletionCommand, AsksTheServerThatIsMeant) {
  server_.admin.workers.add_workers()->set_id("gpu-1");
  server_.admin.workers.add_workers()->set_id("cpu-1");
  EXPECT_EQ(RunHeadlong({"__complete", "workers", "drain", "--server", server_.address, "g"}).out,
            "gpu-1\n");
  server_.admin.requests.add_requests()->set_request_id("r-9");
  EXPECT_EQ(RunHeadlong({"__complete", "requests", "cancel", "--server", server_.address, ""}).out,
            "r-9\n");
  server_.Stop();
  const Outcome silent =
      RunHeadlong({"__complete", "workers", "drain", "--server", server_.address, ""});
  EXPECT_EQ(silent.code, ExitCode::kOk);
  EXPECT_EQ(silent.out + silent.err, "");
}

TEST_F(CompletionCommand, DescribesAndNamesFiles) {
  EXPECT_EQ(RunHeadlong({"__complete", "workers", "re"}).out,
            "return\tLet a drained worker back in\n");
  EXPECT_EQ(RunHeadlong({"__complete", "plan", "diff", ""}).out, ":files\n");
  EXPECT_EQ(RunHeadlong({"completion", "tcsh"}).code, ExitCode::kUsage);
}

}  // namespace
}  // namespace headlong
