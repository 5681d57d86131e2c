// An epoch of one worker that holds all of a model, without a coordinator: what benchmarks run.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "cache/lane_class.h"
#include "cache/plan.h"
#include "headlong/v1/worker.pb.h"
#include "model/config.h"
#include "worker/collective.h"

namespace headlong {

struct SoloLimits {
  int64_t max_context = 0;
  int max_sequences = 1;
  int max_batch_tokens = 512;
};

// The classes of all lanes of a model.
std::vector<LaneClass> WholeClasses(const Plan& plan);

// Epoch 1 over one worker, with pages for max_sequences sequences of max_context. dtype and
// kv_cache_dtype are the caller's to set. `plan`: without ranks.
v1::Configure ConfigureSolo(const ModelConfig& config, const Plan& plan, const SoloLimits& limits);

// Of one rank, which meets nobody.
class NoPeers final : public Rendezvous {
 public:
  absl::Status Put(const std::string&, const std::string&) override { return absl::OkStatus(); }
  absl::StatusOr<std::string> Get(const std::string& key, std::chrono::milliseconds) override {
    return absl::NotFoundError(key);
  }
};

}  // namespace headlong
