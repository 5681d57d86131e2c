// The longest context that one worker holds, measured by filling it: `headlong bench context`.
// Lanes are taken, written, folded and coded as a prompt's are, of random keys and values; then
// tokens are decoded as ever. Runs on the calling thread and OpenMP's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "cache/plan.h"
#include "model/config.h"

namespace headlong {

struct ContextBenchOptions {
  std::filesystem::path model_dir;
  std::string load_format = "auto";  // or "dummy": nothing but config.json is needed
  std::string plan;                  // as Plan::Load
  std::string dtype = "auto";        // or "fp32", "bf16"
  std::string kv_cache_dtype = "auto";
  std::string device = "auto";  // as ChooseDevice
  int gpu = -1;
  int threads = 0;                 // 0: all cores
  int64_t tokens = 0;              // to fill; 0: the most that fit
  int decode = 32;                 // tokens that follow
  int max_batch_tokens = 2048;     // of a chunk
  int64_t memory_limit_bytes = 0;  // 0: half of the free memory, all but a spare of a GPU's
  uint64_t seed = 1;
};

struct ContextReport {
  std::string device;  // for people: "cpu", "cuda:0 NVIDIA H200"
  std::string dtype, kv_cache_dtype;
  int64_t tokens = 0;                // held at the end, those decoded included
  int decoded = 0;                   // of them
  int64_t weights_bytes = 0;         // loaded
  int64_t cache_bytes = 0;           // taken for lanes
  int64_t cache_bytes_used = 0;      // of those, at the end: pages, sums, plain first tokens
  double cache_bytes_per_token = 0;  // of the last of them
  int64_t memory_bytes = 0;          // of the GPU; 0 on a CPU, as its free ones
  int64_t memory_free_bytes = 0;     // at the end
  double fill_s = 0;                 // all but the decoded ones
  double decode_ms = 0;              // median of a token, at the end
  double decode_low_ms = 0, decode_high_ms = 0;  // 10 % are below, above
  double empty_ms = 0;                           // median of a token of an empty sequence
  double read_bytes = 0;                         // weights and lanes that a token reads, at the end
  double ceiling_bytes_per_s = 0;                // reading memory, measured in the same run

  double share_of_ceiling() const { return read_bytes / (decode_ms * 1e-3) / ceiling_bytes_per_s; }
};

// What one sequence's lanes take, spare pages included. `element_bytes` as in LaneRule::format.
int64_t ReservedBytes(const Plan& plan, const ModelConfig& config, int64_t context,
                      int element_bytes);

// The longest context in [context, 2^30] of which ReservedBytes are at most `room` more than those
// of `context`.
int64_t LongestContext(const Plan& plan, const ModelConfig& config, int64_t context,
                       int element_bytes, int64_t room);

// Told what is being done, and how far that is; false ends the run.
using ContextProgress = std::function<bool(double done, double total, const std::string& what)>;

// The context may be longer than the model's own. CANCELLED when `progress` says so;
// RESOURCE_EXHAUSTED names the bytes that are not there; UNIMPLEMENTED for a plan with ranks;
// INVALID_ARGUMENT for caches that no context fills.
absl::StatusOr<ContextReport> BenchContext(const ContextBenchOptions& options,
                                           const ContextProgress& progress);

}  // namespace headlong
