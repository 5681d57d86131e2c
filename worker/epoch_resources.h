// What outlives an epoch. Plain values: pointers to what its owner keeps.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "model/checkpoint.h"
#include "model/config.h"
#include "worker/collective.h"
#include "worker/device.h"

namespace headlong {

class WorkerMetrics;

// Nothing here is null but what says so.
struct EpochResources {
  const ModelConfig* config = nullptr;
  const Checkpoint* checkpoint = nullptr;
  Device* device = nullptr;
  Rendezvous* rendezvous = nullptr;
  std::atomic<uint64_t>* progress = nullptr;
  std::string host;
  Sums sums = Sums::kAuto;
  // Told, again and again, whether steps are computed; may be null.
  std::function<void(bool)> on_ready = {};
  WorkerMetrics* metrics = nullptr;  // told of epochs and steps; may be null
  bool states_speeds = false;        // by flags: what steps cost is not told
  bool keeps_logits = false;         // logits come to the leader also where it needs tokens alone
};

}  // namespace headlong
