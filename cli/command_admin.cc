// `cluster`, `workers`, `requests`: what operators ask a running server.
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/admin_output.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/json_output.h"
#include "cli/target.h"

namespace headlong {
namespace {

struct AdminFlags {
  ServerFlags server;
  OutputFlag output;
  std::string request_id;
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
  AddServerFlags(command, &flags->server);
  AddOutputFlag(command, &flags->output);
  command->callback([&cli, flags, run] { cli.action = [flags, run] { return run(*flags); }; });
  return {command, flags};
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
  AddWorkerMoves(cli, noun);
}

void AddRequestsCommand(CommandLine& cli) {
  CLI::App* noun = AddNoun(cli, "requests", "Requests that wait or run");
  AddVerb(cli, noun, "list", "All of them", ListRequests);
  const auto [command, flags] =
      AddVerb(cli, noun, "cancel", "End one; its cache is freed", CancelOne);
  command->add_option("id", flags->request_id, "Request id")->required();
}

}  // namespace headlong
