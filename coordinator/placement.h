// Which worker gets which heads, MLP columns and vocabulary rows. Pure and deterministic: ties go
// to the lowest index, and workers whose measured speeds are alike count as equal.
//
// Retrieval heads go where most memory is left, local heads where the layer's time is least, MLP
// columns and vocabulary rows by speed; all under each worker's memory. Whole heads only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/plan.h"
#include "headlong/v1/placement.pb.h"
#include "model/config.h"

namespace headlong {

struct PlacementWorker {
  std::string id;
  std::string device;
  int64_t memory_bytes = 0;  // weights, caches and scratch together
  double read_bytes_per_s = 0;
};

struct PlacementProblem {
  const ModelConfig* config = nullptr;
  const Plan* plan = nullptr;
  std::vector<PlacementWorker> workers;  // rank = index
  int64_t max_context = 0;
  int max_sequences = 1;
  int max_batch_tokens = 512;
  int cache_element_bytes = 4;
  int weight_element_bytes = 4;
  int embedding_element_bytes = 4;  // of the input embedding
};

// RESOURCE_EXHAUSTED with the numbers when the model or one sequence of max_context does not fit,
// and which context would. The epoch is the caller's to set.
absl::StatusOr<v1::Placement> Place(const PlacementProblem& problem);

// Bytes of activations and step scratch a worker takes, by what it holds at most in a layer.
int64_t ScratchBytes(const PlacementProblem& problem, int heads, int columns, int vocab_rows);

}  // namespace headlong
