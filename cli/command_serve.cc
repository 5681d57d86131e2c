// `serve`: a whole cluster on this machine, until a signal.
#include <csignal>
#include <memory>

#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "cli/local_cluster.h"
#include "cli/logging.h"
#include "cli/target.h"
#include "common/status.h"

namespace headlong {
namespace {

struct ServeFlags {
  EngineFlags engine;
  LocalWorkerFlags local;
  ListenFlags listen;
  OutputFlag output;
  LogFlags log;
  double drain_s = 30;
};

absl::Status AnnounceReady(const LocalCluster& cluster, const ServeFlags& flags,
                           Terminal& terminal) {
  const std::string address = cluster.client_address();
  if (flags.output.json()) {
    OutputJson json = {{"state", "serving"},
                       {"address", address},
                       {"worker_address", cluster.worker_address()},
                       {"metrics_address", cluster.metrics_address()},
                       {"model", flags.engine.model},
                       {"workers", OutputJson::array()}};
    for (const ChildState& child : cluster.children()) {
      json["workers"].push_back({{"id", child.id}, {"pid", child.pid}});
    }
    RETURN_IF_ERROR(PrintJson(json));
  } else {
    RETURN_IF_ERROR(PrintText(absl::StrCat(
        "serving ", flags.engine.model, " on ", address, " with ", cluster.children().size(),
        cluster.children().size() == 1 ? " worker\n" : " workers\n")));
  }
  const std::string server =
      address == kDefaultServer ? "" : absl::StrCat("--server ", address, " ");
  Announce(terminal, flags.log,
           absl::StrCat("try: headlong generate ", server, "--prompt \"Once upon a time\""));
  Announce(terminal, flags.log,
           "Ctrl-C stops taking requests, waits for the running ones and ends; twice: at once");
  return absl::OkStatus();
}

ExitCode RunServe(ServeFlags& flags, Terminal& terminal) {
  std::signal(SIGPIPE, SIG_IGN);  // a reader of our log that went away does not end the service
  SetUpLogging(terminal, flags.log, {"serve"});
  if (flags.engine.model.empty()) {
    absl::StatusOr<std::string> model = FindDefaultModel();
    if (!model.ok()) return Fail(model.status());
    flags.engine.model = *std::move(model);
  }
  absl::StatusOr<LocalClusterOptions> options = ClusterOptionsFrom(flags.engine, flags.local);
  if (!options.ok() && options.status().code() == absl::StatusCode::kInvalidArgument) {
    return FailUsage(std::string(options.status().message()));
  }
  if (!options.ok()) return Fail(options.status());
  options->coordinator.listen = flags.listen.listen;
  if (!flags.listen.worker_listen.empty()) {
    options->coordinator.worker_listen = flags.listen.worker_listen;
  }
  options->coordinator.health_listen = flags.listen.health_listen;
  options->coordinator.metrics_listen = flags.listen.metrics_listen;
  options->coordinator.tls = flags.listen.tls;
  options->coordinator.access_tokens = flags.listen.access_tokens;
  options->coordinator.insecure = flags.listen.insecure;
  options->log = flags.log;

  absl::StatusOr<std::unique_ptr<LocalCluster>> cluster = LocalCluster::Start(*options, terminal);
  if (!cluster.ok()) return FailToStart(cluster.status());
  absl::Status status = (*cluster)->WaitUntilServing();
  if (status.ok()) status = AnnounceReady(**cluster, flags, terminal);
  if (status.ok()) status = (*cluster)->RunUntilInterrupted();
  if (!status.ok() && !Interrupted()) {
    (*cluster)->Shutdown(std::chrono::milliseconds(0));
    return FailToStart(status);
  }
  Announce(terminal, flags.log, "draining: waiting for running requests");
  (*cluster)->Shutdown(std::chrono::milliseconds(static_cast<int64_t>(flags.drain_s * 1000)));
  Announce(terminal, flags.log, "stopped");
  return InterruptSignal() == SIGTERM ? ExitCode::kOk : ExitCode::kInterrupted;
}

}  // namespace

void AddServeCommand(CommandLine& cli) {
  auto flags = std::make_shared<ServeFlags>();
  CLI::App* command =
      cli.app.add_subcommand("serve", "Serve a model on this machine: coordinator and workers");
  AddEngineFlags(command, &flags->engine, /*embedded=*/false);
  AddLocalWorkerFlags(command, &flags->local, /*embedded=*/false);
  AddListenFlags(command, &flags->listen);
  AddLogFlags(command, &flags->log);
  command->add_option("--drain", flags->drain_s, "Seconds that running requests have when it ends")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  AddOutputFlag(command, &flags->output);
  command->callback(
      [&cli, flags] { cli.action = [&cli, flags] { return RunServe(*flags, cli.terminal); }; });
}

}  // namespace headlong
