// Which worker gets which heads, stripes, MLP columns and vocabulary rows: the problem, and the one
// call that solves it. Pure and deterministic: ties go to the lowest index.
//
// A decode step takes, summed over layers, the slowest worker's time for attention (weights and
// cache read) plus the slowest worker's for the MLP, then the vocabulary's and the sums. Place
// minimises that under every worker's memory; `placement_solver` says how.
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
  double weight_bytes_per_s = 0;  // of products with one row; 0: as read_bytes_per_s
  double matmul_flops = 0;        // with many rows; 0: products cost no more than their bytes
  double layer_s = 0;             // of a layer, whatever it reads
};

// What the sums over workers cost, as measured or as stated.
struct PlacementLink {
  double sum_latency_s = 30e-6;  // of a few numbers, over all workers
  double bytes_per_s = 0;        // of a long sum; 0: not known, costs nothing
  double step_s = 0;             // of a step: its messages to the workers and their answers
};

// What the step time is modelled for.
struct Workload {
  int64_t context = 0;       // tokens of each sequence; 0: max_context
  double concurrency = 0;    // sequences; 0: as many of max_sequences as all memory would hold
  double prefill_share = 0;  // [0, 1]: how much of a step's max_batch_tokens is prompt
};

enum class Objective {
  kLatency,   // the fastest step; more sequences where they cost at most a twentieth of it
  kCapacity,  // the most sequences of max_context, then the fastest step
};

struct PlacementProblem {
  const ModelConfig* config = nullptr;
  const Plan* plan = nullptr;
  std::vector<PlacementWorker> workers;  // rank = index
  int64_t max_context = 0;
  int max_sequences = 1;
  int required_sequences = 1;  // of max_context: what fewer can be held of is refused
  int max_batch_tokens = 512;
  int cache_element_bytes = 4;
  int weight_element_bytes = 4;
  int embedding_element_bytes = 4;  // of the input embedding
  bool stripes = true;              // retrieval heads may be split over workers
  bool level_speeds = true;         // measured speeds that are alike count as equal
  PlacementLink link;
  Workload workload;
  Objective objective = Objective::kLatency;
};

// RESOURCE_EXHAUSTED with the numbers when the model or required_sequences of max_context do not
// fit: what is short, by how much, and which context would fit. The epoch is the caller's to set.
absl::StatusOr<v1::Placement> Place(const PlacementProblem& problem);

// The largest context of which required_sequences fit; 0 when none does. Not bounded by the model.
int64_t LargestContext(const PlacementProblem& problem);

// The most sequences of max_context that fit, each with its local lanes; 0 when not one does.
int LargestConcurrency(const PlacementProblem& problem);

// Bytes that combining the stripes of split heads takes on a worker: the log-sum-exps of its own
// parts and the buffer in which the layer's are exchanged. `parts`: owners of the split heads of
// the layer that has most of them, all heads together; `heads`: most that the worker holds in a
// layer.
int64_t ExchangeBytes(const PlacementProblem& problem, int64_t parts, int64_t heads);

// Bytes of activations and step scratch a worker takes, by what it holds at most in a layer.
int64_t ScratchBytes(const PlacementProblem& problem, int heads, int columns, int vocab_rows);

}  // namespace headlong
