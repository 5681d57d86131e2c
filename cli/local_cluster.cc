#include "cli/local_cluster.h"

#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/interrupt.h"
#include "cli/own_program.h"
#include "cli/quantity.h"
#include "common/status.h"
#include "worker/worker.h"

namespace headlong {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kStatusPoll{50};
constexpr milliseconds kStuckFor{3000};  // an unchanged reason with all workers there is final
constexpr milliseconds kWorkersEndWithin{1000};

absl::Status GivenUp(const std::vector<ChildState>& children) {
  for (const ChildState& child : children) {
    if (child.given_up.empty()) continue;
    return absl::UnavailableError(absl::StrCat("worker ", child.id, " ", child.given_up));
  }
  return absl::OkStatus();
}

void ShowStartup(const v1::GetClusterResponse& cluster, Progress& progress) {
  if (cluster.state() == "loading" && cluster.weights_bytes_total() > 0) {
    progress.Update({static_cast<double>(cluster.weights_bytes_loaded()),
                     static_cast<double>(cluster.weights_bytes_total()),
                     absl::StrCat(FormatBytes(cluster.weights_bytes_loaded()), " of ",
                                  FormatBytes(cluster.weights_bytes_total()), " of weights")});
    return;
  }
  progress.Update({0, 0,
                   absl::StrCat("starting workers: ", cluster.workers_ready(), " of ",
                                cluster.workers_expected(), " ready")});
}

}  // namespace

int64_t FreeMemoryBytes() {
  std::ifstream meminfo("/proc/meminfo");
  std::string word;
  while (meminfo >> word) {
    int64_t kib = 0;
    if (word == "MemAvailable:" && meminfo >> kib) return kib * 1024;
  }
  return 0;
}

std::string DialAddress(const std::string& address) {
  for (const char* any : {"0.0.0.0:", "[::]:"}) {
    if (absl::StartsWith(address, any)) {
      return absl::StrCat("127.0.0.1:", address.substr(std::string(any).size()));
    }
  }
  return address;
}

absl::StatusOr<std::string> FindDefaultModel() {
  const fs::path program_dir = fs::path(OwnProgram()).parent_path();
  for (const fs::path& dir :
       {program_dir, program_dir / "..", program_dir / "../share/headlong", fs::path(".")}) {
    const fs::path model = dir / "models" / "needle-10m";
    std::error_code error;
    if (fs::is_regular_file(model / "config.json", error)) return model.lexically_normal().string();
  }
  return absl::NotFoundError(
      "models/needle-10m is neither beside this program nor here: give --model DIR");
}

std::string FolderOfConfig(const std::string& model) {
  const fs::path path(model);
  if (path.filename() != "config.json") return model;
  return path.has_parent_path() ? path.parent_path().string() : ".";
}

absl::Status CheckModelFolder(const std::string& folder) {
  std::error_code error;
  if (fs::is_directory(folder, error)) return absl::OkStatus();
  if (fs::exists(folder, error)) {
    return absl::NotFoundError(absl::StrCat("--model ", folder, ": not a folder"));
  }
  return absl::NotFoundError(absl::StrCat("--model ", folder, ": no such folder"));
}

absl::StatusOr<LocalClusterOptions> ClusterOptionsFrom(const EngineFlags& engine,
                                                       const LocalWorkerFlags& local) {
  const std::string model =
      engine.load_format == "dummy" ? FolderOfConfig(engine.model) : engine.model;
  RETURN_IF_ERROR(CheckModelFolder(model));
  LocalClusterOptions options;
  options.coordinator.model_dir = model;
  options.coordinator.load_format = engine.load_format;
  options.coordinator.plan = engine.plan;
  options.coordinator.placement = engine.placement;
  options.coordinator.dtype = engine.dtype;
  options.coordinator.kv_cache_dtype = engine.kv_cache_dtype;
  options.coordinator.stripes = engine.stripes;
  options.coordinator.placement_objective = engine.objective;
  options.coordinator.moves = engine.moves;
  options.coordinator.max_context = engine.max_context;
  if (engine.max_sequences > 0) options.coordinator.max_sequences = engine.max_sequences;
  if (engine.max_batch_tokens > 0) options.coordinator.max_batch_tokens = engine.max_batch_tokens;
  options.coordinator.expected_workers = local.workers;
  options.coordinator.worker_listen = "127.0.0.1:0";
  options.workers = local.workers;
  options.threads = local.threads;
  options.device = local.device;
  options.gpu = local.gpu;
  options.cuda_graphs = local.cuda_graphs;
  options.sums = local.sums;
  if (!local.memory_limit.empty()) {
    ASSIGN_OR_RETURN(options.memory_limits, ParseByteList(local.memory_limit));
  }
  const size_t limits = options.memory_limits.size();
  if (limits > 1 && limits != static_cast<size_t>(local.workers)) {
    return absl::InvalidArgumentError(absl::StrCat("--memory-limit has ", limits, " sizes for ",
                                                   local.workers,
                                                   " workers: give one, or one each"));
  }
  return options;
}

std::vector<SupervisedCommand> WorkerCommands(const LocalClusterOptions& options,
                                              const std::string& program,
                                              const std::string& coordinator_address,
                                              const LocalMachine& machine) {
  const int cores = std::max(1u, std::thread::hardware_concurrency());
  const int threads = options.threads > 0 ? options.threads : std::max(1, cores / options.workers);
  const bool on_gpus = options.device != "cpu" && (machine.gpus > 0 || options.gpu >= 0);
  const int gpus = std::max(machine.gpus, 1);
  std::vector<SupervisedCommand> commands;
  for (int i = 0; i < options.workers; ++i) {
    // Workers of one machine that each took half of its free memory would take more than all of it.
    int64_t limit =
        options.workers > 1 && !on_gpus ? machine.free_memory_bytes / 2 / options.workers : 0;
    if (!options.memory_limits.empty()) {
      limit = options.memory_limits[options.memory_limits.size() == 1 ? 0 : i];
    }
    SupervisedCommand command{absl::StrCat("w", i), {}};
    command.argv = {program,
                    "worker",
                    "--coordinator",
                    DialAddress(coordinator_address),
                    "--id",
                    command.id,
                    "--model",
                    options.coordinator.model_dir.string(),
                    "--device",
                    options.device,
                    "--threads",
                    absl::StrCat(threads),
                    "--log-level",
                    options.log.level,
                    "--log-format",
                    options.log.format,
                    "--die-with-parent",
                    absl::StrCat(getpid())};
    if (limit > 0) {
      command.argv.insert(command.argv.end(), {"--memory-limit", absl::StrCat(limit)});
    }
    if (on_gpus) {
      const int first = std::max(options.gpu, 0);
      const int gpu = options.workers == 1 ? first : (first + i) % gpus;
      const int sharing = (options.workers + gpus - 1) / gpus;
      command.argv.insert(command.argv.end(), {"--gpu", absl::StrCat(gpu)});
      command.argv.insert(command.argv.end(), {"--sharing", absl::StrCat(sharing)});
      command.argv.insert(command.argv.end(), {"--sums", options.sums});
      if (!options.cuda_graphs) {
        command.argv.insert(command.argv.end(), {"--cuda-graphs", "off"});
      }
    }
    if (options.coordinator.load_format != "auto") {
      command.argv.insert(command.argv.end(), {"--load-format", options.coordinator.load_format});
    }
    commands.push_back(std::move(command));
  }
  return commands;
}

absl::StatusOr<std::unique_ptr<LocalCluster>> LocalCluster::Start(
    const LocalClusterOptions& options, Terminal& terminal) {
  RETURN_IF_ERROR(CheckDevice(options.device, options.gpu));
  std::unique_ptr<LocalCluster> cluster(new LocalCluster(options, terminal));
  CoordinatorOptions coordinator = options.coordinator;
  coordinator.ends_workers = true;  // they are this process's
  ASSIGN_OR_RETURN(cluster->coordinator_, Coordinator::Start(coordinator));
  RETURN_IF_ERROR(cluster->StartWorkers());
  return cluster;
}

absl::Status LocalCluster::StartWorkers() {
  SupervisorOptions supervisor;
  const int gpus = options_.device == "cpu" ? 0 : CountUsableGpus();
  supervisor.commands =
      WorkerCommands(options_, OwnProgram(), worker_address(), {FreeMemoryBytes(), gpus});
  supervisor.note = [this](const std::string& line) {
    if (!options_.quiet) Announce(terminal_, options_.log, line);
  };
  // A JSON line says itself who wrote it.
  supervisor.child_output = [this](const std::string& id, const std::string& line) {
    if (!options_.quiet) terminal_.Line(options_.log.json() ? line : absl::StrCat(id, ": ", line));
  };
  supervisor.frozen_pids = [this] { return FrozenPids(); };
  supervisor_ = std::make_unique<Supervisor>(std::move(supervisor));
  return absl::OkStatus();
}

std::set<int64_t> LocalCluster::FrozenPids() {
  std::set<int64_t> pids;
  const absl::StatusOr<v1::ListWorkersResponse> workers = coordinator_->ListWorkers();
  if (!workers.ok()) return pids;
  for (const v1::Worker& worker : workers->workers()) {
    if (worker.state() == "gone") pids.insert(worker.pid());
  }
  return pids;
}

absl::Status LocalCluster::WhyItCannotServe(const v1::GetClusterResponse& cluster) {
  RETURN_IF_ERROR(GivenUp(children()));
  ASSIGN_OR_RETURN(const bool all_here, AllWorkersAreHere());
  const bool stuck = all_here && cluster.state() == "waiting" && !cluster.reason().empty();
  if (!stuck || cluster.reason() != stuck_reason_) {
    stuck_reason_ = stuck ? cluster.reason() : "";
    stuck_since_ = steady_clock::now();
    return absl::OkStatus();
  }
  if (steady_clock::now() - stuck_since_ < kStuckFor) return absl::OkStatus();
  return absl::ResourceExhaustedError(cluster.reason());
}

absl::StatusOr<bool> LocalCluster::AllWorkersAreHere() {
  ASSIGN_OR_RETURN(const v1::ListWorkersResponse workers, coordinator_->ListWorkers());
  const auto here =
      std::count_if(workers.workers().begin(), workers.workers().end(),
                    [](const v1::Worker& worker) { return worker.state() != "gone"; });
  return here >= options_.workers;
}

absl::Status LocalCluster::WaitUntilServing() {
  Progress progress(terminal_, "headlong");
  while (!Interrupted()) {
    ASSIGN_OR_RETURN(const v1::GetClusterResponse cluster, coordinator_->GetCluster());
    if (cluster.state() == "serving") return absl::OkStatus();
    RETURN_IF_ERROR(WhyItCannotServe(cluster));
    ShowStartup(cluster, progress);
    std::this_thread::sleep_for(kStatusPoll);
  }
  return absl::CancelledError("interrupted");
}

absl::Status LocalCluster::RunUntilInterrupted() {
  while (!Interrupted()) {
    const std::vector<ChildState> workers = children();
    if (std::all_of(workers.begin(), workers.end(),
                    [](const ChildState& worker) { return !worker.given_up.empty(); })) {
      return GivenUp(workers);
    }
    std::this_thread::sleep_for(kInterruptPoll);
  }
  return absl::OkStatus();
}

void LocalCluster::Shutdown(milliseconds drain) {
  if (shut_down_ || !coordinator_) return;
  shut_down_ = true;
  const int signals_before = InterruptCount();
  std::atomic<bool> done{false};
  std::thread closing([&] {
    coordinator_->Shutdown(drain);
    done = true;
  });
  if (supervisor_) supervisor_->Drain();
  while (!done) {
    if (InterruptCount() > std::max(signals_before, 1)) {
      if (supervisor_) supervisor_->Stop(milliseconds(0));
      std::_Exit(InterruptSignal() == SIGTERM ? 128 + SIGTERM : 128 + SIGINT);
    }
    std::this_thread::sleep_for(milliseconds(5));
  }
  closing.join();
  if (supervisor_) supervisor_->Stop(kWorkersEndWithin);
}

}  // namespace headlong
