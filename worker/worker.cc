#include "worker/worker.h"

#include <omp.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "common/health_server.h"
#include "common/status.h"
#include "common/version.h"
#include "common/wire.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "worker/device.h"
#include "worker/gpu.h"
#include "worker/kernels/matmul_cpu.h"
#include "worker/link.h"
#include "worker/open.h"
#include "worker/profile.h"
#include "worker/session.h"
#include "worker/worker_metrics.h"

namespace headlong {
namespace {

constexpr std::chrono::milliseconds kRegisterTimeout{3000};
constexpr std::chrono::milliseconds kRetryInterval{200};

// Refusals that another try cannot change.
bool IsFinal(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) || absl::IsInvalidArgument(status) ||
         absl::IsPermissionDenied(status) || absl::IsUnauthenticated(status) ||
         absl::IsUnimplemented(status);
}

class WorkerProcess {
 public:
  WorkerProcess(const WorkerOptions& options, const std::atomic<bool>& stop)
      : options_(options), stop_(stop) {}

  absl::Status Prepare() {
    RETURN_IF_ERROR(CheckTlsFiles(options_.tls));
    if (options_.tls.any() && (options_.tls.cert.empty() || options_.tls.ca.empty())) {
      return absl::InvalidArgumentError(
          "--tls-ca, --tls-cert, --tls-key: both ends know each other by all of them, or none");
    }
    if (!options_.health_listen.empty()) {
      ASSIGN_OR_RETURN(health_, HealthServer::Start(options_.health_listen));
    }
    if (!options_.metrics_listen.empty()) {
      ASSIGN_OR_RETURN(metrics_, WorkerMetrics::Start(options_.metrics_listen, options_.worker_id,
                                                      options_.tls));
      spdlog::info("metrics on port {}", metrics_->port());
    }
    ASSIGN_OR_RETURN(const DeviceChoice choice, FindDevice(options_.device, options_.gpu));
    device_ = std::make_unique<Device>(choice, options_.cuda_graphs);
    ASSIGN_OR_RETURN(sums_, SumsFromName(options_.sums));
    omp_set_num_threads(options_.threads > 0 ? options_.threads : omp_get_num_procs());
    ASSIGN_OR_RETURN(config_, LoadModelConfig(options_.model_dir));
    ASSIGN_OR_RETURN(checkpoint_,
                     OpenCheckpoint(options_.model_dir, options_.load_format, config_));
    RETURN_IF_ERROR(Describe());
    if (health_ != nullptr) health_->SetStarted();
    return absl::OkStatus();
  }

  absl::Status Serve() {
    auto reached = std::chrono::steady_clock::now();
    const std::chrono::duration<double> timeout(options_.coordinator_timeout_s);
    while (!stop_) {
      CoordinatorLink link(options_.coordinator, options_.tls);
      const auto registered = link.Register(registration_, kRegisterTimeout);
      if (registered.ok()) {
        spdlog::info("registered with {} as {}", options_.coordinator, options_.worker_id);
        if (ServeSession(link, *registered) != Session::End::kDisconnected) break;
        reached = std::chrono::steady_clock::now();
        warned_.clear();
      } else if (IsFinal(registered.status())) {
        return Annotate(registered.status(), "the coordinator refuses this worker");
      } else if (std::chrono::steady_clock::now() - reached > timeout) {
        return absl::DeadlineExceededError(absl::StrCat("no coordinator at ", options_.coordinator,
                                                        " for ", options_.coordinator_timeout_s,
                                                        " s: ", registered.status().message()));
      } else {
        WarnOnce(std::string(registered.status().message()));
      }
      std::this_thread::sleep_for(kRetryInterval);
    }
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<int64_t> MemoryLimit() const {
    const int64_t asked = options_.memory_limit_bytes;
    const DeviceChoice& choice = device_->choice();
    if (!choice.cuda()) return asked > 0 ? asked : DefaultMemoryLimit();
    const GpuMemory memory = GpuMemoryNow(choice.gpu);
    if (asked <= 0) return DefaultGpuLimit(memory, options_.sharing);
    if (asked <= memory.free_bytes) return asked;
    return absl::ResourceExhaustedError(absl::StrCat("--memory-limit ", asked, ": ", choice.name,
                                                     " has ", memory.free_bytes, " of ",
                                                     memory.total_bytes, " bytes free"));
  }

  absl::Status Describe() {
    const DeviceChoice& choice = device_->choice();
    WorkerProfile profile;
    if (choice.cuda()) {
      ASSIGN_OR_RETURN(profile, MeasureGpu(choice.gpu));
    } else {
      profile = MeasureProfile();
    }
    const auto stated = [](double value, double& measured) {
      if (value > 0) measured = value;
    };
    stated(options_.profile_bandwidth, profile.read_bytes_per_s);
    stated(options_.profile_flops, profile.matmul_flops);
    stated(options_.profile_flops_one_row, profile.matmul_flops_one_row);
    ASSIGN_OR_RETURN(const int64_t memory, MemoryLimit());
    registration_.set_protocol(kWireProtocol);
    registration_.set_version(Version());
    registration_.set_worker_id(options_.worker_id);
    registration_.set_pid(getpid());
    registration_.set_host(options_.host);
    registration_.set_device(choice.name);
    registration_.set_memory_bytes(memory);
    registration_.set_read_bytes_per_s(profile.read_bytes_per_s);
    registration_.set_matmul_flops(profile.matmul_flops);
    registration_.set_matmul_flops_one_row(profile.matmul_flops_one_row);
    registration_.set_model_fingerprint(checkpoint_->fingerprint());
    registration_.set_threads(omp_get_max_threads());
    registration_.set_native_bf16(choice.cuda() || cpu::HasNativeBfloat16());
    spdlog::debug("on {}: {} bytes, reads {:.0f} GB/s, multiplies {:.1f} TFLOP/s", choice.name,
                  memory, profile.read_bytes_per_s / 1e9, profile.matmul_flops / 1e12);
    return absl::OkStatus();
  }

  // Why the coordinator is not reached, again only when that changes.
  void WarnOnce(const std::string& why) {
    if (why != warned_) spdlog::warn("no coordinator at {} yet: {}", options_.coordinator, why);
    warned_ = why;
  }

  Session::End ServeSession(CoordinatorLink& link, const v1::Registered& registered) {
    EpochResources resources;
    resources.config = &config_;
    resources.checkpoint = checkpoint_.get();
    resources.device = device_.get();
    resources.progress = &progress_;
    resources.host = options_.host;
    resources.sums = sums_;
    resources.states_speeds = options_.profile_bandwidth > 0 || options_.profile_flops > 0 ||
                              options_.profile_flops_one_row > 0;
    resources.metrics = metrics_.get();
    if (health_ != nullptr) {
      resources.on_ready = [this](bool ready) { health_->SetReady(ready); };
    }
    Session session(link, resources, stop_);
    return session.Run(
        std::chrono::milliseconds(std::clamp(registered.heartbeat_interval_ms(), 20u, 1000u)),
        std::chrono::milliseconds(static_cast<int64_t>(options_.drain_s * 1000)));
  }

  const WorkerOptions& options_;
  const std::atomic<bool>& stop_;
  Sums sums_ = Sums::kAuto;
  ModelConfig config_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  v1::Register registration_;
  std::string warned_;
  std::atomic<uint64_t> progress_{0};
  std::unique_ptr<HealthServer> health_;
  std::unique_ptr<WorkerMetrics> metrics_;
  std::unique_ptr<Device> device_;  // backend and weights, kept across sessions
};

}  // namespace

absl::Status RunWorker(const WorkerOptions& options, const std::atomic<bool>& stop) {
  WorkerProcess process(options, stop);
  RETURN_IF_ERROR(process.Prepare());
  return process.Serve();
}

absl::Status CheckDevice(const std::string& device, int gpu) {
  return FindDevice(device, gpu).status();
}

std::string BuiltForGpus() { return GpuArchitectures(); }

int CountUsableGpus() {
  const absl::StatusOr<std::vector<Gpu>> gpus = FindGpus();
  if (!gpus.ok()) return 0;
  return static_cast<int>(std::count_if(gpus->begin(), gpus->end(),
                                        [](const Gpu& gpu) { return gpu.refusal.empty(); }));
}

}  // namespace headlong
