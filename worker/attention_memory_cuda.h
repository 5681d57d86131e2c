// The device memory of AttentionCuda: caches by lane class and a step's scratch, one allocation,
// sized from the shapes of the epoch. Owner: AttentionCuda.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "cache/storage.h"
#include "worker/attention_cuda_plan.h"
#include "worker/backend.h"
#include "worker/kernels/append_cuda.h"

namespace headlong {

class AttentionMemory {
 public:
  // tile_positions, decode_ctas: of the kernels that will run.
  struct Kernels {
    cuda::DecodeShape shape;
    int tile_positions = 0;
    int decode_ctas = 0;
  };

  AttentionMemory(const AttentionShape& attention, const CacheShape& cache, const Kernels& kernels);
  ~AttentionMemory();
  AttentionMemory(const AttentionMemory&) = delete;
  AttentionMemory& operator=(const AttentionMemory&) = delete;

  // RESOURCE_EXHAUSTED with the bytes asked and free. Sums are not zeroed.
  absl::Status Take();

  // By held head of a layer. REQUIRES: Take.
  void WriteShifts(int layer, std::span<const LaneShift> shifts);

  int64_t bytes() const { return bytes_; }
  int block_tokens() const { return limits_.block_tokens; }
  int64_t upload_bytes() const;
  int slots(size_t lane_class) const { return class_shapes_[lane_class].sum_slots; }

  const Kernels kernels;
  std::vector<std::vector<HeadPlace>> places;  // [layer][held head]
  std::vector<DeviceClass> classes;

  // Device memory.
  DeviceClass* device_classes = nullptr;
  std::vector<HeadPlace*> device_places;  // [layer]
  std::vector<StripePart*> device_parts;  // [layer]; empty where no head is split
  std::vector<LaneShift*> layer_shifts;   // [layer][held head]
  std::vector<DecodeItem*> layer_items;   // [layer][lanes of all decode rows + CTAs]
  float* inverse_frequencies = nullptr;   // [head_dim / 2]
  cuda::FreshRows batch_rows;             // [head][K|V][max_rows][head_dim]
  cuda::FreshRows prompt_rows;            // [head][K|V][max_context][head_dim], exact prefill only
  float* tokens = nullptr;                // [head][token_capacity][K|V][head_dim]
  int32_t token_capacity = 0;
  float* cos_sin = nullptr;  // [rows][2][head_dim / 2]
  std::byte* q = nullptr;    // [rows][heads * group][head_dim]
  float* lse = nullptr;      // [rows][heads * group]
  float* part_out = nullptr;
  float* part_lse = nullptr;
  std::byte* upload = nullptr;

 private:
  class Arena;
  struct ClassShape {
    int64_t pages = 0;
    int lanes = 0;
    int page_tokens = 0;
    int sum_slots = 0;
  };

  void Lay(Arena& arena);
  void LayClass(Arena& arena, size_t lane_class);

  const std::vector<float> frequencies_;
  const std::vector<LayerStripes> stripes_;
  const int64_t row_bytes_;
  StepLimits limits_;
  int max_heads_ = 0;
  std::vector<ClassShape> class_shapes_;
  std::byte* memory_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace headlong
