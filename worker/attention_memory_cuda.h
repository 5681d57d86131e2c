// The device memory of AttentionCuda: caches by lane class and a step's scratch, one allocation,
// sized from the shapes of the epoch. Owner: AttentionCuda.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "cache/storage.h"
#include "cache/widened_rows.h"
#include "worker/attention_cuda_plan.h"
#include "worker/backend.h"
#include "worker/kernels/append_cuda.h"
#include "worker/kernels/copy_map.h"

namespace headlong {

class AttentionMemory {
 public:
  // Of the kernels that will run.
  struct Kernels {
    cuda::DecodeShape shape;  // of plain rows
    int tile_positions = 0;
    std::vector<cuda::DecodeShape> decode_shapes;  // by launch: see DeviceClass
    std::vector<int> decode_ctas;                  // [launch]
    int most_ctas = 0;                             // the largest of them
  };
  static constexpr int kPlainLaunch = 0;  // of plain rows

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
  // A few tiles of queries widen their codes themselves as fast.
  WideningLimits widening() const { return {widened_room.rows, 4 * kernels.tile_positions}; }
  void ResetSums(int slot, cudaStream_t stream);
  // In the order of the stream.
  void CopyLane(const LaneCopy& copy, CopyWay way, cudaStream_t stream);

  const Kernels kernels;
  std::vector<std::vector<HeadPlace>> places;  // [layer][held head]
  std::vector<DeviceClass> classes;

  // Device memory.
  DeviceClass* device_classes = nullptr;
  cuda::CopyMap* copy_maps = nullptr;      // [class], then of batch, prompt and widened rows
  int32_t* prefill_work = nullptr;         // see cuda::PrefillAttention
  std::vector<HeadPlace*> device_places;   // [layer]
  std::vector<StripePart*> device_parts;   // [layer]; empty where no head is split
  std::vector<LaneShift*> layer_shifts;    // [layer][held head]
  std::vector<DecodeItem*> layer_items;    // [layer], of all launches
  float* inverse_frequencies = nullptr;    // [head_dim / 2]
  cuda::FreshRows batch_rows;              // of max_rows
  cuda::FreshRows prompt_rows;             // of max_context, exact prefill only
  cuda::FreshRows widened_rows;            // of widened_room's heads; none where no class widens
  DeviceClass* widened_classes = nullptr;  // what the classes are then; others are not plain
  WidenedRoom widened_room;
  float* tokens = nullptr;  // [head][token_capacity][2 * head_dim]
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
    int slots = 0;
    bool sums = false;
    LaneFormat format;
  };

  void Lay(Arena& arena);
  void LayClass(Arena& arena, size_t lane_class);
  void MapCopies();
  void LayRows(Arena& arena, int64_t count, cuda::FreshRows& rows);
  void LayWidened(Arena& arena);
  std::vector<DeviceClass> WidenedClasses() const;

  const std::vector<float> frequencies_;
  const std::vector<LayerStripes> stripes_;
  const int64_t query_bytes_;    // of a row
  int64_t new_token_bytes_ = 0;  // of a token of a step, in the largest format
  StepLimits limits_;
  int max_heads_ = 0;
  const int64_t max_context_;
  std::vector<ClassShape> class_shapes_;
  std::byte* memory_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace headlong
