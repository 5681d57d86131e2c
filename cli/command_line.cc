#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "cli/commands.h"
#include "cli/examples.h"
#include "common/version.h"

namespace headlong {
namespace {

constexpr char kFooter[] =
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 denied, 5 unreachable or timed out, "
    "6 conflict, 130 interrupted.";

constexpr char kComplete[] = "__complete";  // what completion scripts call

}  // namespace

void AddCommands(CommandLine& cli) {
  cli.app.name("headlong");
  cli.app.require_subcommand(1);
  cli.app.footer(kFooter);
  cli.app.set_version_flag("--version", std::string("headlong ") + Version());
  cli.app.get_formatter()->column_width(34);
  AddServeCommand(cli);
  AddCoordinatorCommand(cli);
  AddWorkerCommand(cli);
  AddGenerateCommand(cli);
  AddBatchCommand(cli);
  AddTokenizeCommands(cli);
  AddBenchCommand(cli);
  AddClusterCommand(cli);
  AddTopCommand(cli);
  AddWorkersCommand(cli);
  AddPlacementCommand(cli);
  AddRequestsCommand(cli);
  AddModelCommand(cli);
  AddPlanCommand(cli);
  AddCalibrateCommand(cli);
  AddCertsCommand(cli);
  AddAuthCommand(cli);
  AddConfigCommand(cli);
  AddDoctorCommand(cli);
  AddCompletionCommand(cli);
  AddVersionCommand(cli);
  AddExamples(cli.app);
}

namespace {

// The command the user was typing, for hints: "headlong workers list".
std::string CommandPath(const CLI::App& app) {
  std::string path = app.get_name();
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) {
    at = at->get_subcommands().front();
    path += " " + at->get_name();
  }
  return path;
}

// A word that nothing takes explains a required option that is missing, not the other way round.
std::string Mistake(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> unknown = app.remaining(/*recurse=*/true);
  if (unknown.empty()) return error.what();
  const bool is_flag = unknown.front().starts_with('-');
  return (is_flag ? "unknown option " : "unknown command or argument ") + unknown.front();
}

}  // namespace

ExitCode RunCommandLine(int argc, const char* const* argv, Terminal& terminal) {
  CommandLine cli(terminal);
  AddCommands(cli);
  if (argc > 1 && std::string_view(argv[1]) == kComplete) {
    return PrintCompletions(cli.app, std::vector<std::string>(argv + 2, argv + argc));
  }
  try {
    cli.app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help and --version
    cli.app.exit(success);
    return ExitCode::kOk;
  } catch (const CLI::ParseError& error) {
    const std::string path = CommandPath(cli.app);
    const std::string mistake = Mistake(cli.app, error);
    std::fprintf(stderr, "%s: %s\nSee `%s --help`.\n", path.c_str(), mistake.c_str(), path.c_str());
    return ExitCode::kUsage;
  }
  if (!cli.action) return FailUsage("no command given");
  return cli.action();
}

}  // namespace headlong
