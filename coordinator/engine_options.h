// What the engine is told once. Plain values.
#pragma once

#include <cstdint>
#include <string>

#include "cache/storage.h"
#include "coordinator/cluster.h"
#include "coordinator/lane_transfer_choice.h"
#include "coordinator/placement.h"
#include "headlong/v1/placement.pb.h"

namespace headlong {

struct EngineOptions {
  std::string model_name;
  std::string fingerprint;
  bool stored_in_bf16 = false;                // the weights, on disk
  std::string dtype = "auto";                 // "auto" | "fp32" | "bf16"
  Storage cache_storage = Storage::kFloat32;  // of keys and values, a plain type
  int64_t max_context = 0;
  int max_sequences = 16;
  int max_batch_tokens = 512;
  int max_waiting = 1024;
  v1::Placement placement;  // as PlacementFromJson; no workers: the engine places the model
  bool stripes = true;      // retrieval heads may be split over workers
  Objective objective = Objective::kLatency;
  MoveMode moves = MoveMode::kAuto;
  bool ends_workers = false;  // Stop tells them to end, too
  ClusterOptions cluster;
};

}  // namespace headlong
