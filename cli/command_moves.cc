// `workers drain`, `workers return` and `placement apply`: what moves a running cluster to a new
// epoch. Requests go on there.
#include <memory>

#include "absl/strings/str_cat.h"
#include "cli/admin_verb.h"
#include "cli/cluster_move.h"
#include "common/json.h"
#include "common/status.h"

namespace headlong {
namespace {

struct MoveFlags : AdminFlags {
  std::string file;
  uint64_t check_epoch = 0;
  int timeout_s = 300;
  bool no_wait = false;
  bool waits() const { return !no_wait && !dry_run; }
};

void AddMoveFlags(CLI::App* command, MoveFlags* flags) {
  AddDryRunFlag(command, &flags->dry_run);
  command->add_flag("--no-wait", flags->no_wait, "Do not wait until it is done");
  command->add_option("--timeout", flags->timeout_s, "Seconds to wait")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
}

ExitCode Print(const MoveFlags& flags, const AdminView& view) {
  const absl::Status printed = PrintText(TextOf(view, flags.format));
  return printed.ok() ? ExitCode::kOk : Fail(printed);
}

// "is", "will be" or, in a dry run, "would be" ...
const char* Verb(const MoveFlags& flags) {
  if (flags.dry_run) return " would be ";
  return flags.no_wait ? " will be " : " is ";
}

absl::StatusOr<AdminView> MoveWorker(const MoveFlags& flags, bool back, Terminal& terminal) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, ConnectTo(flags.server));
  v1::DrainWorkerRequest request;
  request.set_worker_id(flags.id);
  request.set_back(back);
  request.set_dry_run(flags.dry_run);
  RETURN_IF_ERROR(client->DrainWorker(request));
  const ClusterMove move{flags.id, back, 0, std::chrono::seconds(flags.timeout_s)};
  if (flags.waits()) RETURN_IF_ERROR(WaitForMove(move, *client, terminal));
  AdminView view;
  view.json = {{"id", flags.id}, {"drained", !back}, {"waited", flags.waits()}};
  if (flags.dry_run) view.json["dry_run"] = true;
  view.names = flags.id + "\n";
  view.table = absl::StrCat(flags.id, Verb(flags), back ? "in service" : "drained", "\n");
  view.wide = view.table;
  return view;
}

absl::StatusOr<AdminView> ApplyPlacement(const MoveFlags& flags, Terminal& terminal) {
  v1::ApplyPlacementRequest request;
  ASSIGN_OR_RETURN(*request.mutable_placement_json(), ReadFile(flags.file));
  request.set_check_epoch(flags.check_epoch);
  request.set_dry_run(flags.dry_run);
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, ConnectTo(flags.server));
  const absl::StatusOr<v1::ApplyPlacementResponse> answer = client->ApplyPlacement(request);
  if (absl::IsInvalidArgument(answer.status())) return Annotate(answer.status(), flags.file);
  ASSIGN_OR_RETURN(const v1::ApplyPlacementResponse applied, answer);
  const ClusterMove move{"", false, applied.epoch(), std::chrono::seconds(flags.timeout_s)};
  if (flags.waits()) RETURN_IF_ERROR(WaitForMove(move, *client, terminal));
  AdminView view;
  view.json = {{"ended_epoch", applied.epoch()}, {"waited", flags.waits()}};
  if (flags.dry_run) view.json["dry_run"] = true;
  view.names = absl::StrCat(applied.epoch(), "\n");
  view.table = absl::StrCat("the placement", Verb(flags), "in force\n");
  view.wide = view.table;
  return view;
}

void AddWorkerMove(CommandLine& cli, CLI::App* workers, bool back) {
  const auto run = [back](const MoveFlags& flags, Terminal& terminal) {
    const absl::StatusOr<AdminView> view = MoveWorker(flags, back, terminal);
    return view.ok() ? Print(flags, *view) : Fail(view.status());
  };
  const auto [command, flags] = AddAdminVerb<MoveFlags>(
      cli, workers, back ? "return" : "drain",
      back ? "Let a drained worker back in" : "Move all it holds to the other workers", run);
  command->add_option("id", flags->id, "Worker id")->required()->type_name("WORKER");
  AddMoveFlags(command, flags.get());
}

}  // namespace

void AddWorkerMoves(CommandLine& cli, CLI::App* workers) {
  AddWorkerMove(cli, workers, /*back=*/false);
  AddWorkerMove(cli, workers, /*back=*/true);
}

void AddPlacementApply(CommandLine& cli, CLI::App* placement) {
  const auto run = [](const MoveFlags& flags, Terminal& terminal) {
    const absl::StatusOr<AdminView> view = ApplyPlacement(flags, terminal);
    return view.ok() ? Print(flags, *view) : Fail(view.status());
  };
  const auto [command, flags] = AddAdminVerb<MoveFlags>(
      cli, placement, "apply",
      "Put a placement in force, as `placement plan -o plan` prints it; drains who is not named",
      run);
  command->add_option("file", flags->file, "Placement")->required();
  command->add_option("--check-epoch", flags->check_epoch,
                      "Refuse unless this is the epoch in force (default: any)");
  AddMoveFlags(command, flags.get());
}

}  // namespace headlong
