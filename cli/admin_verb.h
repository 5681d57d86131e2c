// What the commands of operators have in common: a server, a format, an action.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/json_output.h"
#include "cli/target.h"

namespace headlong {

// One answer in every format. `names`: one a line.
struct AdminView {
  OutputJson json;
  std::string table;
  std::string wide;
  std::string names;
};

inline std::string TextOf(const AdminView& view, const FormatFlag& format) {
  if (format.json()) return JsonLine(view.json);
  if (format.name()) return view.names;
  return format.wide() ? view.wide : view.table;
}

// Every command of this family has these; a command adds its own behind them.
struct AdminFlags {
  ServerFlags server;
  FormatFlag format;
  std::string id;
  bool dry_run = false;
};

// A verb whose `run` takes its flags and the terminal and returns an ExitCode. `Flags` derives from
// AdminFlags.
template <typename Flags, typename Run>
std::pair<CLI::App*, std::shared_ptr<Flags>> AddAdminVerb(CommandLine& cli, CLI::App* noun,
                                                          const char* verb, const char* what,
                                                          Run run) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = noun->add_subcommand(verb, what);
  AddServerFlags(command, &flags->server);
  AddFormatFlag(command, &flags->format);
  command->callback([&cli, flags, run] {
    cli.action = [&cli, flags, run] { return run(*flags, cli.terminal); };
  });
  return {command, flags};
}

// A verb that asks once and prints: `ask` makes the view of a connected client.
template <typename Ask>
ExitCode PrintAnswer(const AdminFlags& flags, Ask ask) {
  const absl::StatusOr<std::unique_ptr<Client>> client = ConnectTo(flags.server);
  if (!client.ok()) return Fail(client.status());
  const absl::StatusOr<AdminView> view = ask(**client);
  if (!view.ok()) return Fail(view.status());
  const absl::Status printed = PrintText(TextOf(*view, flags.format));
  return printed.ok() ? ExitCode::kOk : Fail(printed);
}

}  // namespace headlong
