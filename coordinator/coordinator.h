// The coordinator role: frontends, tokenizer, scheduler, placement, recovery. Never touches
// tensors.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/tls.h"
#include "headlong/v1/admin.pb.h"

namespace headlong {

struct CoordinatorOptions {
  std::filesystem::path model_dir;
  std::string plan;                     // as Plan::Load
  std::filesystem::path placement;      // a file, as PlacementFromJson; empty: placed here
  std::string dtype = "auto";           // "auto" | "fp32" | "bf16"
  std::string kv_cache_dtype = "auto";  // those, "fp16"; auto: bf16 unless dtype is "fp32"
  std::string stripes = "auto";         // "auto" | "off": whether heads may be split over workers
  std::string placement_objective = "latency";  // | "capacity"
  std::string moves = "auto";                   // | "replay" | "live": as MoveModeFromName
  std::string load_format = "auto";             // "auto" | "dummy": config.json without weights
  std::string listen = "127.0.0.1:7000";  // Inference, Admin, health, reflection; port 0: any free
  std::string worker_listen = "127.0.0.1:7001";
  std::string health_listen;   // grpc.health.v1 without TLS; empty: nowhere
  std::string metrics_listen;  // GET /metrics; empty: nowhere
  // With cert and key clients speak TLS; with `ca`, too, workers do and show a certificate of it.
  TlsFiles tls;
  std::filesystem::path access_tokens;  // of clients, as ParseTokens; needs TLS; empty: none
  bool insecure = false;                // strangers may reach what neither of these protects
  bool ends_workers = false;   // when it ends; else they keep their weights for the next one
  int expected_workers = 1;    // the first epoch waits for so many
  int64_t max_context = 0;     // 0: the model's
  int max_sequences = 16;      // running at once
  int max_batch_tokens = 512;  // rows of one step
  int max_waiting = 1024;      // queued requests; more: RESOURCE_EXHAUSTED
  std::chrono::milliseconds rejoin_grace{3000};  // after a death, wait so long for a replacement
};

class Coordinator {
 public:
  // Loads config, tokenizer and plan, binds both ports and starts the engine thread. Errors name
  // the option, file or address (ALREADY_EXISTS-like "address in use" is UNAVAILABLE).
  static absl::StatusOr<std::unique_ptr<Coordinator>> Start(const CoordinatorOptions& options);
  virtual ~Coordinator() = default;  // Shutdown(0) if still running

  virtual std::string client_address() const = 0;  // with the real port
  virtual std::string worker_address() const = 0;
  virtual std::string metrics_address() const = 0;  // empty without one

  // What Admin answers, without certificates and tokens. UNAVAILABLE once it shuts down.
  virtual absl::StatusOr<v1::GetClusterResponse> GetCluster() = 0;
  virtual absl::StatusOr<v1::ListWorkersResponse> ListWorkers() = 0;

  // Stops taking requests, waits up to `drain` for running ones, tells the workers to stop where
  // it ends them, else lets go of them, and closes the ports. Idempotent.
  virtual void Shutdown(std::chrono::milliseconds drain) = 0;
};

}  // namespace headlong
