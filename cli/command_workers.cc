// `workers list|get`; drain and return are in command_moves.
#include "cli/admin_output.h"
#include "common/status.h"

namespace headlong {
namespace {

ExitCode ListWorkers(const AdminFlags& flags, Terminal&) {
  return PrintAnswer(flags, [](Client& client) -> absl::StatusOr<AdminView> {
    ASSIGN_OR_RETURN(const v1::ListWorkersResponse workers, client.ListWorkers());
    return WorkersView(workers);
  });
}

ExitCode GetWorker(const AdminFlags& flags, Terminal&) {
  return PrintAnswer(flags, [&](Client& client) -> absl::StatusOr<AdminView> {
    ASSIGN_OR_RETURN(const v1::ListWorkersResponse workers, client.ListWorkers());
    return WorkerView(workers, flags.id);
  });
}

}  // namespace

void AddWorkersCommand(CommandLine& cli) {
  CLI::App* noun = cli.app.add_subcommand("workers", "The workers of a cluster");
  noun->require_subcommand(1);
  AddAdminVerb<AdminFlags>(cli, noun, "list", "Who they are, what they hold and how they are",
                           ListWorkers);
  const auto [get, flags] =
      AddAdminVerb<AdminFlags>(cli, noun, "get", "One of them, or why it was refused", GetWorker);
  get->add_option("id", flags->id, "Worker id")->required()->type_name("WORKER");
  AddWorkerMoves(cli, noun);
}

}  // namespace headlong
