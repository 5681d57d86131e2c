// The commands of `headlong`. Each function adds one noun with its verbs to the command line and
// sets `action` when the user names it; the action runs after parsing, on the main thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "cli/exit_code.h"
#include "cli/terminal.h"

namespace headlong {

struct CommandLine {
  explicit CommandLine(Terminal& screen) : terminal(screen) {}

  CLI::App app{
      "Headlong serves long-context language models: every attention head gets the cache "
      "it needs."};
  Terminal& terminal;
  std::function<ExitCode()> action;
};

void AddServeCommand(CommandLine& cli);
void AddCoordinatorCommand(CommandLine& cli);
void AddWorkerCommand(CommandLine& cli);
void AddGenerateCommand(CommandLine& cli);
void AddBatchCommand(CommandLine& cli);
void AddTokenizeCommands(CommandLine& cli);  // tokenize, detokenize
void AddBenchCommand(CommandLine& cli);
void AddBenchKernelsCommand(CommandLine& cli, CLI::App* bench);
void AddBenchContextCommand(CommandLine& cli, CLI::App* bench);
void AddClusterCommand(CommandLine& cli);
void AddTopCommand(CommandLine& cli);
void AddWorkersCommand(CommandLine& cli);
void AddWorkerMoves(CommandLine& cli, CLI::App* workers);  // drain, return
void AddPlacementCommand(CommandLine& cli);
void AddPlacementApply(CommandLine& cli, CLI::App* placement);
void AddPlacementPast(CommandLine& cli, CLI::App* placement);  // history, explain
void AddRequestsCommand(CommandLine& cli);
void AddModelCommand(CommandLine& cli);
void AddPlanCommand(CommandLine& cli);
void AddPlanFileVerbs(CommandLine& cli, CLI::App* plan);  // import, export, diff, report
void AddCalibrateCommand(CommandLine& cli);
void AddCertsCommand(CommandLine& cli);
void AddAuthCommand(CommandLine& cli);
void AddVersionCommand(CommandLine& cli);
void AddConfigCommand(CommandLine& cli);
void AddCompletionCommand(CommandLine& cli);
void AddDoctorCommand(CommandLine& cli);

// Everything above, with examples in every help text.
void AddCommands(CommandLine& cli);

// What a shell shows to somebody who typed `words` so far: see completion.h.
ExitCode PrintCompletions(const CLI::App& app, const std::vector<std::string>& words);

// Parses the arguments (argv[0] is skipped) and runs the command they name.
ExitCode RunCommandLine(int argc, const char* const* argv, Terminal& terminal);

}  // namespace headlong
