// The worker role: holds a share of the weights and caches, computes steps, talks to one
// coordinator.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "common/tls.h"

namespace headlong {

struct WorkerOptions {
  std::filesystem::path model_dir;
  std::string coordinator = "127.0.0.1:7001";  // its worker port
  TlsFiles tls;                                // none, or all three
  std::string metrics_listen;                  // GET /metrics; empty: nowhere
  std::string health_listen;                   // grpc.health.v1 without TLS; empty: nowhere
  std::string worker_id;                       // [A-Za-z0-9._-]{1,64}
  std::string host = "127.0.0.1";              // where peers reach this worker's collectives
  std::string device = "auto";                 // "auto" | "cpu" | "cuda"
  int gpu = -1;                                // index; -1: the first that can be used
  int sharing = 1;                   // workers of this machine that share the device's memory
  bool cuda_graphs = true;           // a GPU replays decode steps from graphs
  std::string sums = "auto";         // of GPUs: "auto" | "nccl" | "push"
  std::string load_format = "auto";  // "auto": the model's files | "dummy": none
  int threads = 0;                   // 0: all cores
  int64_t memory_limit_bytes = 0;    // 0: half of the free memory, most of a GPU's
  // What is reported instead of what is measured; 0: measured.
  double profile_bandwidth = 0;       // bytes read per second
  double profile_flops = 0;           // of products with many rows
  double profile_flops_one_row = 0;   // of products with one row
  double coordinator_timeout_s = 60;  // give up when no coordinator is reached for so long
  double drain_s = 30;                // once `stop` is set, for handing lanes over
};

// Serves until the coordinator says to stop, `stop` becomes true (and the others go on without this
// worker, or drain_s are over), or the coordinator stays
// unreachable for coordinator_timeout_s (DEADLINE_EXCEEDED). Weights are kept while reconnecting.
absl::Status RunWorker(const WorkerOptions& options, const std::atomic<bool>& stop);

// The GPU architectures that this build has code for, as CMake names them; empty: CPUs only.
std::string BuiltForGpus();

// GPUs of this machine that this build can use.
int CountUsableGpus();

// What a worker with this --device and --gpu would be refused for, before any is started.
absl::Status CheckDevice(const std::string& device, int gpu);

}  // namespace headlong
