// `coordinator` and `worker`: the roles of a cluster, one process each.
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "cli/local_cluster.h"
#include "cli/logging.h"
#include "cli/quantity.h"
#include "cli/target.h"
#include "common/status.h"
#include "coordinator/coordinator.h"
#include "worker/worker.h"

namespace headlong {
namespace {

struct CoordinatorFlags {
  EngineFlags engine;
  ListenFlags listen;
  int expected_workers = 1;
  OutputFlag output;
  LogFlags log;
  double drain_s = 30;
};

struct WorkerFlags {
  WorkerOptions options;
  std::string memory_limit;
  LogFlags log;
  pid_t die_with_parent = 0;
};

absl::Status DefaultModel(std::string* model) {
  if (!model->empty()) return CheckModelFolder(*model);
  ASSIGN_OR_RETURN(*model, FindDefaultModel());
  return absl::OkStatus();
}

// Ending takes its time while requests run or lanes are handed over; a second signal ends that.
class SecondSignal {
 public:
  SecondSignal()
      : watch_([this] {
          while (!done_) {
            if (InterruptCount() > 1) std::_Exit(128 + InterruptSignal());
            std::this_thread::sleep_for(kInterruptPoll);
          }
        }) {}
  ~SecondSignal() {
    done_ = true;
    watch_.join();
  }

 private:
  std::atomic<bool> done_{false};
  std::thread watch_;
};

absl::Status AnnounceListening(const Coordinator& coordinator, const CoordinatorFlags& flags,
                               Terminal& terminal) {
  const std::string clients = coordinator.client_address();
  const std::string workers = coordinator.worker_address();
  if (flags.output.json()) {
    RETURN_IF_ERROR(PrintJson({{"state", "listening"},
                               {"address", clients},
                               {"worker_address", workers},
                               {"metrics_address", coordinator.metrics_address()},
                               {"model", flags.engine.model},
                               {"expected_workers", flags.expected_workers}}));
  } else {
    RETURN_IF_ERROR(PrintText(absl::StrCat("coordinator of ", flags.engine.model, ": clients at ",
                                           clients, ", workers at ", workers, "\n")));
  }
  Announce(terminal, flags.log,
           absl::StrCat("start ", flags.expected_workers, " of: headlong worker --coordinator ",
                        workers, " --id NAME --model ", flags.engine.model));
  return absl::OkStatus();
}

ExitCode RunCoordinator(CoordinatorFlags& flags, Terminal& terminal) {
  std::signal(SIGPIPE, SIG_IGN);
  SetUpLogging(terminal, flags.log, {"coordinator"});
  if (flags.engine.load_format == "dummy") flags.engine.model = FolderOfConfig(flags.engine.model);
  if (const absl::Status found = DefaultModel(&flags.engine.model); !found.ok()) return Fail(found);
  absl::StatusOr<LocalClusterOptions> options = ClusterOptionsFrom(flags.engine, {});
  if (!options.ok()) return Fail(options.status());
  CoordinatorOptions& coordinator = options->coordinator;
  coordinator.listen = flags.listen.listen;
  coordinator.worker_listen =
      flags.listen.worker_listen.empty() ? "127.0.0.1:7001" : flags.listen.worker_listen;
  coordinator.health_listen = flags.listen.health_listen;
  coordinator.metrics_listen = flags.listen.metrics_listen;
  coordinator.tls = flags.listen.tls;
  coordinator.access_tokens = flags.listen.access_tokens;
  coordinator.insecure = flags.listen.insecure;
  coordinator.expected_workers = flags.expected_workers;
  absl::StatusOr<std::unique_ptr<Coordinator>> started = Coordinator::Start(coordinator);
  if (!started.ok()) return FailToStart(started.status());
  const absl::Status announced = AnnounceListening(**started, flags, terminal);
  if (!announced.ok()) return Fail(announced);
  while (!Interrupted()) std::this_thread::sleep_for(kInterruptPoll);
  Announce(terminal, flags.log, "draining: waiting for running requests");
  const SecondSignal quits;
  (*started)->Shutdown(std::chrono::milliseconds(static_cast<int64_t>(flags.drain_s * 1000)));
  return InterruptSignal() == SIGTERM ? ExitCode::kOk : ExitCode::kInterrupted;
}

// A supervised worker dies with its parent, whatever happens to that, and leaves Ctrl-C, which the
// terminal sends to the whole group, to it. False: the parent is gone already.
bool FollowParent(pid_t parent) {
  std::signal(SIGINT, SIG_IGN);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  return getppid() == parent;
}

ExitCode RunWorkerCommand(WorkerFlags& flags, Terminal& terminal) {
  if (flags.die_with_parent > 0 && !FollowParent(flags.die_with_parent)) return ExitCode::kFailed;
  std::signal(SIGPIPE, SIG_IGN);
  SetUpLogging(terminal, flags.log, {"worker", flags.options.worker_id});
  std::string model = flags.options.model_dir.string();
  if (flags.options.load_format == "dummy") model = FolderOfConfig(model);
  if (const absl::Status found = DefaultModel(&model); !found.ok()) return Fail(found);
  flags.options.model_dir = model;
  if (!flags.memory_limit.empty()) {
    const absl::StatusOr<int64_t> limit = ParseBytes(flags.memory_limit);
    if (!limit.ok()) return FailUsage(std::string(limit.status().message()));
    flags.options.memory_limit_bytes = *limit;
  }
  const SecondSignal quits;
  const absl::Status status = RunWorker(flags.options, InterruptFlag());
  if (InterruptSignal() == SIGINT) return ExitCode::kInterrupted;
  if (InterruptSignal() == SIGTERM) return ExitCode::kOk;
  return status.ok() ? ExitCode::kOk : Fail(status);
}

std::string CheckBytes(const std::string& text) {
  const absl::StatusOr<int64_t> bytes = ParseBytes(text);
  return bytes.ok() ? "" : std::string(bytes.status().message());
}

}  // namespace

void AddCoordinatorCommand(CommandLine& cli) {
  auto flags = std::make_shared<CoordinatorFlags>();
  CLI::App* command =
      cli.app.add_subcommand("coordinator", "Run the coordinator of a cluster of machines");
  AddEngineFlags(command, &flags->engine, /*embedded=*/false);
  AddListenFlags(command, &flags->listen);
  command
      ->add_option("--tls-ca", flags->listen.tls.ca,
                   "What signed the workers' certificates, PEM: workers speak TLS and show one")
      ->group("Server");
  command
      ->add_option("--expected-workers", flags->expected_workers,
                   "Workers to wait for before the model is placed")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--drain", flags->drain_s, "Seconds that running requests have when it ends")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  AddLogFlags(command, &flags->log);
  AddOutputFlag(command, &flags->output);
  command->callback([&cli, flags] {
    cli.action = [&cli, flags] { return RunCoordinator(*flags, cli.terminal); };
  });
}

void AddWorkerCommand(CommandLine& cli) {
  auto flags = std::make_shared<WorkerFlags>();
  WorkerOptions& options = flags->options;
  CLI::App* command = cli.app.add_subcommand("worker", "Run one worker of a cluster");
  command->add_option("--coordinator", options.coordinator, "The coordinator's address for workers")
      ->check(CheckAddress)
      ->capture_default_str();
  AddHealthFlag(command, &options.health_listen);
  AddMetricsFlag(command, &options.metrics_listen);
  AddTlsFlags(command, &options.tls, "What signed the coordinator's certificate, PEM");
  command->add_option("--id", options.worker_id, "Name of this worker; its place is kept for it")
      ->required();
  command->add_option("--model", options.model_dir, "Model folder, the same as the coordinator's");
  command->add_option("--host", options.host, "Where other workers reach this one")
      ->capture_default_str();
  AddDeviceFlags(command, {&options.device, &options.gpu, &options.threads, &options.cuda_graphs,
                           &options.sums});
  AddLoadFormatFlag(command, &options.load_format);
  command->add_option("--sharing", options.sharing)->check(CLI::Range(1, 1024))->group("");
  command
      ->add_option("--memory-limit", flags->memory_limit,
                   "For weights, caches and scratch, e.g. 2GiB (default: half of what is free, "
                   "most of a GPU)")
      ->check(CheckBytes);
  const auto profile = [command](const char* flag, double& value, const char* what) {
    command->add_option(flag, value, what)->check(CLI::Range(1.0, 1e18))->group("Profile");
  };
  profile("--profile-bandwidth", options.profile_bandwidth,
          "Bytes read per second, instead of what is measured");
  profile("--profile-flops", options.profile_flops,
          "Operations per second of products with many rows, instead of what is measured");
  profile("--profile-flops-one-row", options.profile_flops_one_row, "The same with one row");
  command
      ->add_option("--coordinator-timeout", options.coordinator_timeout_s,
                   "Seconds without a coordinator after which it ends")
      ->check(CLI::Range(0.1, 1e7))
      ->capture_default_str();
  command
      ->add_option("--drain", options.drain_s,
                   "Seconds that it has to hand its caches over when it ends")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  AddLogFlags(command, &flags->log);
  command->add_option("--die-with-parent", flags->die_with_parent)->group("");
  command->callback([&cli, flags] {
    cli.action = [&cli, flags] { return RunWorkerCommand(*flags, cli.terminal); };
  });
}

}  // namespace headlong
