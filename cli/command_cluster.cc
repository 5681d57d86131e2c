// `cluster status` and `top`: how a running cluster is, once or again and again.
#include <chrono>
#include <memory>
#include <utility>

#include "cli/admin_output.h"
#include "cli/top_view.h"
#include "cli/watch.h"
#include "common/status.h"

namespace headlong {
namespace {

struct StatusFlags : AdminFlags {
  bool watch = false;
  WatchFlags frames;
};

struct TopFlags {
  ServerFlags server;
  OutputFlag output;
  WatchFlags frames;
};

struct ClusterStatus {
  AdminView view;
  bool can_serve = false;
};

absl::StatusOr<ClusterStatus> AskStatus(Client& client) {
  ASSIGN_OR_RETURN(const v1::GetClusterResponse cluster, client.GetCluster());
  ASSIGN_OR_RETURN(const v1::ListWorkersResponse workers, client.ListWorkers());
  return ClusterStatus{ClusterView(cluster, workers), CanServe(cluster)};
}

ExitCode ShowStatus(const StatusFlags& flags, Terminal& terminal) {
  const absl::StatusOr<std::unique_ptr<Client>> client = ConnectTo(flags.server);
  if (!client.ok()) return Fail(client.status());
  if (flags.watch) {
    return WatchFrames(flags.frames, terminal, [&]() -> absl::StatusOr<WatchedFrame> {
      ASSIGN_OR_RETURN(const ClusterStatus status, AskStatus(**client));
      return WatchedFrame{TextOf(status.view, flags.format), flags.format.json()};
    });
  }
  const absl::StatusOr<ClusterStatus> status = AskStatus(**client);
  if (!status.ok()) return Fail(status.status());
  const absl::Status printed = PrintText(TextOf(status->view, flags.format));
  if (!printed.ok()) return Fail(printed);
  return status->can_serve ? ExitCode::kOk : ExitCode::kFailed;
}

absl::StatusOr<TopSample> LookAt(Client& client) {
  TopSample sample;
  ASSIGN_OR_RETURN(sample.cluster, client.GetCluster());
  ASSIGN_OR_RETURN(sample.workers, client.ListWorkers());
  ASSIGN_OR_RETURN(sample.requests, client.ListRequests());
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  sample.at_s = std::chrono::duration<double>(since).count();
  return sample;
}

ExitCode ShowTop(const TopFlags& flags, Terminal& terminal) {
  const absl::StatusOr<std::unique_ptr<Client>> client = ConnectTo(flags.server);
  if (!client.ok()) return Fail(client.status());
  TopView view;
  view.server = (*client)->address();
  view.colour = terminal.colours_stdout();
  view.width = terminal.traits().stdout_is_terminal ? terminal.traits().width : 200;
  bool looked = false;
  return WatchFrames(flags.frames, terminal, [&]() -> absl::StatusOr<WatchedFrame> {
    ASSIGN_OR_RETURN(TopSample sample, LookAt(**client));
    if (std::exchange(looked, true)) view.before = std::move(view.now);
    view.now = std::move(sample);
    const bool json = flags.output.json();
    return WatchedFrame{json ? JsonLine(TopJson(view)) : TopText(view), json};
  });
}

}  // namespace

void AddClusterCommand(CommandLine& cli) {
  CLI::App* noun = cli.app.add_subcommand("cluster", "The cluster behind a server");
  noun->require_subcommand(1);
  const auto [command, flags] = AddAdminVerb<StatusFlags>(
      cli, noun, "status", "How it is; exit code 0 only when it can serve", ShowStatus);
  CLI::Option* watch =
      command->add_flag("-w,--watch", flags->watch, "Again and again, until Ctrl-C");
  AddWatchFlags(command, &flags->frames);
  command->get_option("--interval")->needs(watch);
  command->get_option("--count")->needs(watch);
}

void AddTopCommand(CommandLine& cli) {
  auto flags = std::make_shared<TopFlags>();
  CLI::App* command = cli.app.add_subcommand(
      "top", "Workers, tokens per second, cache and requests of a running cluster, live");
  AddServerFlags(command, &flags->server);
  AddOutputFlag(command, &flags->output);
  AddWatchFlags(command, &flags->frames);
  command->callback(
      [&cli, flags] { cli.action = [&cli, flags] { return ShowTop(*flags, cli.terminal); }; });
}

}  // namespace headlong
