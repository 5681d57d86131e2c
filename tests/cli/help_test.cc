// Every command has a help text with examples, and every example can be typed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "tests/cli/command_fixture.h"

namespace headlong {
namespace {

// Commands without commands below them, as they are typed. What has no name is a group of options.
void Leaves(const CLI::App& app, const std::string& path,
            std::vector<std::pair<std::string, const CLI::App*>>& out) {
  const auto below =
      app.get_subcommands([](const CLI::App* each) { return !each->get_name().empty(); });
  if (below.empty()) out.emplace_back(path, &app);
  for (const CLI::App* command : below) {
    Leaves(*command, path + " " + command->get_name(), out);
  }
}

std::vector<std::string> ExamplesOf(const CLI::App& command) {
  std::vector<std::string> examples;
  bool within = false;
  const std::vector<std::string> lines = absl::StrSplit(command.get_footer(), '\n');
  for (const std::string& line : lines) {
    if (line == "Examples:") within = true;
    if (within && absl::StartsWith(line, "  ")) examples.push_back(line.substr(2));
    if (line.empty()) within = false;
  }
  return examples;
}

// What the program is called with: between a shell's own words.
std::string Arguments(std::string example) {
  if (absl::StartsWith(example, "source <(")) example = example.substr(9, example.size() - 10);
  return example.substr(0, example.find(" >"));
}

TEST(Help, EveryCommandHasExamplesThatParse) {
  Terminal terminal{TerminalTraits()};
  CommandLine tree(terminal);
  AddCommands(tree);
  std::vector<std::pair<std::string, const CLI::App*>> leaves;
  Leaves(tree.app, "headlong", leaves);
  EXPECT_GT(leaves.size(), 40u);
  for (const auto& [path, command] : leaves) {
    const std::vector<std::string> examples = ExamplesOf(*command);
    EXPECT_FALSE(examples.empty()) << path << " has no example";
    EXPECT_THAT(command->get_footer(), testing::HasSubstr("Exit codes:")) << path;
    for (const std::string& example : examples) {
      const std::string arguments = Arguments(example);
      EXPECT_TRUE(absl::StartsWith(arguments, path)) << example << " is not of " << path;
      CommandLine cli(terminal);
      AddCommands(cli);
      try {
        cli.app.parse(arguments, /*program_name_included=*/true);
      } catch (const CLI::ParseError& error) {
        ADD_FAILURE() << example << ": " << error.what();
      }
      EXPECT_TRUE(cli.action != nullptr) << example;
    }
  }
}

}  // namespace
}  // namespace headlong
