// `cluster`, `workers`, `placement`, `requests`: what operators ask a running server.
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/admin_output.h"
#include "cli/cluster_move.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/head_map.h"
#include "cli/json_output.h"
#include "cli/target.h"
#include "common/json.h"

namespace headlong {
namespace {

struct AdminFlags {
  std::string server;
  OutputFlag output;
  bool map = false;
  std::string request_id;
  std::string worker_id;
  std::string file;
  uint64_t check_epoch = 0;
  int timeout_s = 300;
  bool no_wait = false;
};

// Runs `ask` on a connection to the server that the flags name.
template <typename Ask>
ExitCode WithServer(const AdminFlags& flags, const Ask& ask) {
  const absl::StatusOr<std::unique_ptr<Client>> client = ConnectTo(flags.server);
  return client.ok() ? ask(**client) : Fail(client.status());
}

ExitCode Print(const AdminFlags& flags, const OutputJson& json, const std::string& text) {
  const absl::Status printed = flags.output.json() ? PrintJson(json) : PrintText(text);
  return printed.ok() ? ExitCode::kOk : Fail(printed);
}

ExitCode ShowCluster(const AdminFlags& flags) {
  return WithServer(flags, [&](Client& client) {
    const absl::StatusOr<v1::GetClusterResponse> cluster = client.GetCluster();
    if (!cluster.ok()) return Fail(cluster.status());
    const ExitCode printed = Print(flags, ClusterJson(*cluster), ClusterText(*cluster));
    if (printed != ExitCode::kOk) return printed;
    return CanServe(*cluster) ? ExitCode::kOk : ExitCode::kFailed;
  });
}

ExitCode ListWorkers(const AdminFlags& flags) {
  return WithServer(flags, [&](Client& client) {
    const absl::StatusOr<v1::ListWorkersResponse> workers = client.ListWorkers();
    if (!workers.ok()) return Fail(workers.status());
    return Print(flags, WorkersJson(*workers), WorkersText(*workers));
  });
}

ExitCode MoveWorker(const AdminFlags& flags, bool back, Terminal& terminal) {
  const ClusterMove move{flags.worker_id, back, 0, std::chrono::seconds(flags.timeout_s)};
  return WithServer(flags, [&](Client& client) {
    absl::Status moved = client.DrainWorker(move.worker_id, move.back);
    if (moved.ok() && !flags.no_wait) moved = WaitForMove(move, client, terminal);
    if (!moved.ok()) return Fail(moved);
    const char* state = back ? "in service" : "drained";
    return Print(flags, {{"id", move.worker_id}, {"drained", !back}, {"waited", !flags.no_wait}},
                 absl::StrCat(move.worker_id, flags.no_wait ? " will be " : " is ", state, "\n"));
  });
}

ExitCode ShowPlacement(const AdminFlags& flags, const TerminalTraits& traits) {
  return WithServer(flags, [&](Client& client) {
    const absl::StatusOr<v1::GetPlacementResponse> response = client.GetPlacement();
    if (!response.ok()) return Fail(response.status());
    const v1::Placement& placement = response->placement();
    const MapStyle style{traits.stdout_is_terminal && traits.colour, traits.utf8, traits.width};
    return Print(flags, PlacementJson(placement),
                 flags.map
                     ? DrawPlacementMap(placement, response->layers(), response->kv_heads(), style)
                     : PlacementText(placement));
  });
}

ExitCode ApplyPlacement(const AdminFlags& flags, Terminal& terminal) {
  const absl::StatusOr<std::string> json = ReadFile(flags.file);
  if (!json.ok()) return Fail(json.status());
  return WithServer(flags, [&](Client& client) {
    const auto applied = client.ApplyPlacement(*json, flags.check_epoch);
    if (!applied.ok()) return Fail(applied.status());
    const ClusterMove move{"", false, applied->epoch(), std::chrono::seconds(flags.timeout_s)};
    const absl::Status moved =
        flags.no_wait ? absl::OkStatus() : WaitForMove(move, client, terminal);
    if (!moved.ok()) return Fail(moved);
    return Print(flags, {{"ended_epoch", applied->epoch()}, {"waited", !flags.no_wait}},
                 absl::StrCat("the placement ", flags.no_wait ? "will be" : "is", " in force\n"));
  });
}

ExitCode ListRequests(const AdminFlags& flags) {
  return WithServer(flags, [&](Client& client) {
    const absl::StatusOr<v1::ListRequestsResponse> requests = client.ListRequests();
    if (!requests.ok()) return Fail(requests.status());
    return Print(flags, RequestsJson(*requests), RequestsText(*requests));
  });
}

ExitCode CancelOne(const AdminFlags& flags) {
  return WithServer(flags, [&](Client& client) {
    const absl::Status cancelled = client.CancelRequest(flags.request_id);
    if (!cancelled.ok()) return Fail(cancelled);
    return Print(flags, {{"id", flags.request_id}, {"cancelled", true}},
                 absl::StrCat("cancelled ", flags.request_id, "\n"));
  });
}

// One verb: its common flags and what it does.
template <typename Run>
std::pair<CLI::App*, std::shared_ptr<AdminFlags>> AddVerb(CommandLine& cli, CLI::App* noun,
                                                          const char* verb, const char* what,
                                                          Run run) {
  auto flags = std::make_shared<AdminFlags>();
  CLI::App* command = noun->add_subcommand(verb, what);
  AddServerFlag(command, &flags->server);
  AddOutputFlag(command, &flags->output);
  command->callback([&cli, flags, run] { cli.action = [flags, run] { return run(*flags); }; });
  return {command, flags};
}

void AddWaitFlags(CLI::App* command, AdminFlags& flags) {
  command->add_flag("--no-wait", flags.no_wait, "Do not wait until it is done");
  command->add_option("--timeout", flags.timeout_s, "Seconds to wait")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
}

CLI::App* AddNoun(CommandLine& cli, const char* name, const char* what) {
  CLI::App* noun = cli.app.add_subcommand(name, what);
  noun->require_subcommand(1);
  return noun;
}

}  // namespace

void AddClusterCommand(CommandLine& cli) {
  AddVerb(cli, AddNoun(cli, "cluster", "The cluster behind a server"), "status",
          "How it is; exit code 0 only when it can serve", ShowCluster);
}

void AddWorkersCommand(CommandLine& cli) {
  CLI::App* noun = AddNoun(cli, "workers", "The workers of a cluster");
  AddVerb(cli, noun, "list", "Who they are, what they hold and how they are", ListWorkers);
  for (const bool back : {false, true}) {
    const auto [command, flags] = AddVerb(
        cli, noun, back ? "return" : "drain",
        back ? "Let a drained worker back in" : "Move all it holds to the other workers",
        [&cli, back](const AdminFlags& given) { return MoveWorker(given, back, cli.terminal); });
    command->add_option("id", flags->worker_id, "Worker id")->required();
    AddWaitFlags(command, *flags);
  }
}

void AddPlacementCommand(CommandLine& cli) {
  CLI::App* noun = AddNoun(cli, "placement", "Which worker holds which heads");
  const auto [show, shown] = AddVerb(
      cli, noun, "show", "The placement in force",
      [&cli](const AdminFlags& given) { return ShowPlacement(given, cli.terminal.traits()); });
  show->add_flag("--map", shown->map, "Draw every head with the worker that holds it");
  const auto [apply, applied] =
      AddVerb(cli, noun, "apply", "Put a placement in force, as `placement show -o json` prints it",
              [&cli](const AdminFlags& given) { return ApplyPlacement(given, cli.terminal); });
  apply->add_option("file", applied->file, "Placement")->required();
  apply->add_option("--check-epoch", applied->check_epoch,
                    "Refuse unless this is the epoch in force");
  AddWaitFlags(apply, *applied);
}

void AddRequestsCommand(CommandLine& cli) {
  CLI::App* noun = AddNoun(cli, "requests", "Requests that wait or run");
  AddVerb(cli, noun, "list", "All of them", ListRequests);
  const auto [command, flags] =
      AddVerb(cli, noun, "cancel", "End one; its cache is freed", CancelOne);
  command->add_option("id", flags->request_id, "Request id")->required();
}

}  // namespace headlong
