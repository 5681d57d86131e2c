// Shapes of one worker's attention and caches, fixed within an epoch. Plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cache/lane_class.h"
#include "cache/plan.h"
#include "cache/projections.h"
#include "cache/storage.h"
#include "worker/kernels/stripes.h"

namespace headlong {

// The heads of one layer that are split into stripes, as combining them needs it
// (kernels/stripes.h).
struct LayerStripes {
  std::vector<StripePart> own;  // of those whose stripes this worker holds, ascending
  int parts = 0;                // owners of all split heads of the layer; 0: there is none
};

struct AttentionShape {
  int head_dim = 0;
  int group = 1;                        // query heads per KV head
  std::vector<std::vector<int>> heads;  // [layer] -> KV heads held, ascending
  std::vector<LayerStripes> stripes;    // [layer]; empty: no head is split
  std::vector<float> inverse_frequencies;
  std::vector<float> alibi_slopes;  // [query head of the model]; empty: positions are rotary
  float rope_scale = 1;             // of cosines and sines
  // [layer][held head]; empty: no head is projected
  std::vector<std::vector<HeadProjections>> projections;
  std::vector<int64_t> windows;  // [layer] -> sliding window of the model, 0: none; empty: nowhere
  int64_t max_context = 0;
  int max_rows = 0;
};

struct CacheShape {
  const Plan* plan = nullptr;  // outlives the backend's caches
  const std::vector<LaneClass>* classes = nullptr;
  std::vector<int32_t> class_pages;
  int max_sequences = 0;
  Storage storage = Storage::kFloat32;  // of keys and values
};

// Where a held head's lanes are.
struct CacheLane {
  int lane_class = 0;
  int lane = 0;  // in the class
};

// Pages of one lane, and what one sequence has beside them, with their copy in host memory.
struct LaneCopy {
  CacheLane place;
  std::span<const int32_t> pages;   // of the caches, in the order of the copy
  std::byte* host_pages = nullptr;  // [pages], each of the lane as the caches hold it
  int slot = 0;
  float* host_sums = nullptr;       // [K|V][dims]; null: none
  std::byte* host_sinks = nullptr;  // [K|V][sinks][dims], plain; null: none
};
enum class CopyWay { kToHost, kFromHost };

}  // namespace headlong
