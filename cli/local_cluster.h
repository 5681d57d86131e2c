// A cluster on this machine: the coordinator in this process and supervised worker processes.
// `serve` runs one for as long as it lives; `generate`, `batch` and `bench` run one of their own on
// free loopback ports. Owned and used by one thread. Nothing is left running once it is destroyed.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/flags.h"
#include "cli/supervisor.h"
#include "cli/terminal.h"
#include "coordinator/coordinator.h"

namespace headlong {

struct LocalClusterOptions {
  CoordinatorOptions coordinator;
  int workers = 1;
  int threads = 0;  // of each; 0: the cores shared out
  std::string device = "auto";
  int gpu = -1;  // of the first worker; -1: not given
  bool cuda_graphs = true;
  std::string sums = "auto";
  std::vector<int64_t> memory_limits;  // none, one for all, or one per worker
  LogFlags log;                        // of the workers
  bool quiet = false;                  // keep what workers write for errors, do not show it
};

// What the flags ask for; USAGE mistakes among them are INVALID_ARGUMENT. NOT_FOUND when the model
// folder does not exist.
absl::StatusOr<LocalClusterOptions> ClusterOptionsFrom(const EngineFlags& engine,
                                                       const LocalWorkerFlags& local);

// The folder of a model that was not named: models/needle-10m beside the program or the current
// folder. NOT_FOUND says what to do.
absl::StatusOr<std::string> FindDefaultModel();

// The folder of a config.json that was named in its stead; else the argument.
std::string FolderOfConfig(const std::string& model);

// NOT_FOUND unless `folder` is one.
absl::Status CheckModelFolder(const std::string& folder);

// Host memory that is free now; 0 when the system does not say.
int64_t FreeMemoryBytes();

// What the workers of this machine share.
struct LocalMachine {
  int64_t free_memory_bytes = 0;
  int gpus = 0;  // that can be used
};

// Pure: the argument lists of the workers. `program` is argv[0]. Workers on GPUs take them in turn.
std::vector<SupervisedCommand> WorkerCommands(const LocalClusterOptions& options,
                                              const std::string& program,
                                              const std::string& coordinator_address,
                                              const LocalMachine& machine);

class LocalCluster {
 public:
  static absl::StatusOr<std::unique_ptr<LocalCluster>> Start(const LocalClusterOptions& options,
                                                             Terminal& terminal);
  ~LocalCluster() { Shutdown(std::chrono::milliseconds(0)); }
  LocalCluster(const LocalCluster&) = delete;

  // Shows what happens until requests can be answered. CANCELLED at Ctrl-C; else why they cannot.
  absl::Status WaitUntilServing();

  // Waits for a signal, or until no worker is left (UNAVAILABLE, saying why).
  absl::Status RunUntilInterrupted();

  // Ends everything; running requests have `drain` to finish. A second signal meanwhile ends the
  // program at once. Idempotent.
  void Shutdown(std::chrono::milliseconds drain);

  std::string client_address() const { return coordinator_->client_address(); }
  std::string worker_address() const { return coordinator_->worker_address(); }
  std::string metrics_address() const { return coordinator_->metrics_address(); }
  std::vector<ChildState> children() const { return supervisor_->children(); }

 private:
  LocalCluster(const LocalClusterOptions& options, Terminal& terminal)
      : options_(options), terminal_(terminal) {}
  absl::Status StartWorkers();
  absl::Status WhyItCannotServe(const v1::GetClusterResponse& cluster);
  absl::StatusOr<bool> AllWorkersAreHere();
  std::set<int64_t> FrozenPids();

  const LocalClusterOptions options_;
  Terminal& terminal_;
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<Supervisor> supervisor_;
  std::string stuck_reason_;  // empty: it is not
  std::chrono::steady_clock::time_point stuck_since_;
  bool shut_down_ = false;
};

// Where a process of this machine reaches what listens at `address`.
std::string DialAddress(const std::string& address);

}  // namespace headlong
