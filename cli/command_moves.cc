// `workers drain`, `workers return` and `placement apply`: what moves a running cluster to a new
// epoch. Requests go on there.
#include <memory>

#include "absl/strings/str_cat.h"
#include "cli/cluster_move.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/json_output.h"
#include "cli/target.h"
#include "common/json.h"
#include "common/status.h"

namespace headlong {
namespace {

struct MoveFlags {
  ServerFlags server;
  OutputFlag output;
  std::string worker_id;
  std::string file;
  uint64_t check_epoch = 0;
  int timeout_s = 300;
  bool no_wait = false;
};

void AddMoveFlags(CLI::App* command, MoveFlags* flags) {
  AddServerFlags(command, &flags->server);
  AddOutputFlag(command, &flags->output);
  command->add_flag("--no-wait", flags->no_wait, "Do not wait until it is done");
  command->add_option("--timeout", flags->timeout_s, "Seconds to wait")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
}

absl::Status Print(const MoveFlags& flags, const OutputJson& json, const std::string& text) {
  return flags.output.json() ? PrintJson(json) : PrintText(text);
}

absl::Status MoveWorker(const MoveFlags& flags, bool back, Terminal& terminal) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, ConnectTo(flags.server));
  RETURN_IF_ERROR(client->DrainWorker(flags.worker_id, back));
  const ClusterMove move{flags.worker_id, back, 0, std::chrono::seconds(flags.timeout_s)};
  if (!flags.no_wait) RETURN_IF_ERROR(WaitForMove(move, *client, terminal));
  return Print(flags, {{"id", flags.worker_id}, {"drained", !back}, {"waited", !flags.no_wait}},
               absl::StrCat(flags.worker_id, flags.no_wait ? " will be " : " is ",
                            back ? "in service" : "drained", "\n"));
}

absl::Status ApplyPlacement(const MoveFlags& flags, Terminal& terminal) {
  ASSIGN_OR_RETURN(const std::string json, ReadFile(flags.file));
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, ConnectTo(flags.server));
  ASSIGN_OR_RETURN(const v1::ApplyPlacementResponse applied,
                   client->ApplyPlacement(json, flags.check_epoch));
  const ClusterMove move{"", false, applied.epoch(), std::chrono::seconds(flags.timeout_s)};
  if (!flags.no_wait) RETURN_IF_ERROR(WaitForMove(move, *client, terminal));
  return Print(flags, {{"ended_epoch", applied.epoch()}, {"waited", !flags.no_wait}},
               absl::StrCat("the placement ", flags.no_wait ? "will be" : "is", " in force\n"));
}

ExitCode CodeOf(const absl::Status& status) { return status.ok() ? ExitCode::kOk : Fail(status); }

void AddWorkerMove(CommandLine& cli, CLI::App* workers, bool back) {
  auto flags = std::make_shared<MoveFlags>();
  CLI::App* command = workers->add_subcommand(
      back ? "return" : "drain",
      back ? "Let a drained worker back in" : "Move all it holds to the other workers");
  command->add_option("id", flags->worker_id, "Worker id")->required();
  AddMoveFlags(command, flags.get());
  command->callback([&cli, flags, back] {
    cli.action = [&cli, flags, back] { return CodeOf(MoveWorker(*flags, back, cli.terminal)); };
  });
}

}  // namespace

void AddWorkerMoves(CommandLine& cli, CLI::App* workers) {
  AddWorkerMove(cli, workers, /*back=*/false);
  AddWorkerMove(cli, workers, /*back=*/true);
}

void AddPlacementApply(CommandLine& cli, CLI::App* placement) {
  auto flags = std::make_shared<MoveFlags>();
  CLI::App* command = placement->add_subcommand(
      "apply",
      "Put a placement in force, as `placement plan -o plan` prints it; drains who is not named");
  command->add_option("file", flags->file, "Placement")->required();
  command->add_option("--check-epoch", flags->check_epoch,
                      "Refuse unless this is the epoch in force (default: any)");
  AddMoveFlags(command, flags.get());
  command->callback([&cli, flags] {
    cli.action = [&cli, flags] { return CodeOf(ApplyPlacement(*flags, cli.terminal)); };
  });
}

}  // namespace headlong
