// Attention of one layer for a whole batch on the CPU: every held head of every chunk, as its
// policy says, and what its cache keeps afterwards. Owns the slabs. One caller; uses OpenMP inside.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/lane_cpu.h"
#include "cache/slab_cpu.h"
#include "worker/attention_parts.h"
#include "worker/backend.h"
#include "worker/kernels/attention_cpu.h"
#include "worker/new_rows_cpu.h"
#include "worker/probe.h"
#include "worker/repeat_attention_cpu.h"

namespace headlong {

class AttentionCpu {
 public:
  // Takes the memory of the slabs and of the step's scratch.
  static absl::StatusOr<std::unique_ptr<AttentionCpu>> Create(const AttentionShape& attention,
                                                              const CacheShape& cache);

  void ResetSums(int slot);
  void CopyLane(const LaneCopy& copy, CopyWay way);
  // `batch` and `tables` must outlive the batch's layers.
  void BeginBatch(const Batch& batch, const LaneTables& tables);
  // qkv and out: as Backend::Attend, after rotation.
  void Run(int layer, const float* qkv, float* out);
  // What chunks with a period saw of their earlier copies since the last call, whole heads only.
  std::vector<AttentionSums> TakeSums();
  // What Run left of the layer's split heads: log-sum-exps of each one's own part.
  StripeRows Stripes(int layer, int rows) const;

 private:
  // One tile: positions [position, position + count) over runs [run_begin, run_end) of its lane.
  struct Tile {
    int work = 0;
    int64_t position = 0;
    int count = 0;
    size_t run_begin = 0;
    size_t run_end = 0;
    int64_t dropped = 0;  // N_d; 0: no compensation token
    size_t token = 0;     // offset of the mean key and value in `tokens`
    int part = 0;         // of `parts` that the tile's keys are cut into; they follow each other
    int parts = 1;
    int result = 0;  // of a cut tile: its place among the partial results
  };

  // One lane of one chunk.
  struct LaneWork {
    const Chunk* chunk = nullptr;
    const SequenceTables* tables = nullptr;
    int head = 0;                   // index among the layer's held heads
    int layer_heads = 0;            // how many those are
    int64_t window = 0;             // of the model in this layer, 0: none
    const float* slopes = nullptr;  // [group], with ALiBi
    CacheLane place;
    NewRows rows;
    std::vector<KeyRun> runs;
    std::vector<Tile> tiles;
    std::vector<float> tokens;   // [group of queries][K|V][dims] means of what was dropped
    std::vector<float> running;  // [K|V][dims] sums after the last group
  };

  AttentionCpu(const AttentionShape& attention, const CacheShape& cache);

  absl::Status TakeMemory(const CacheShape& cache);
  void RoundNewRows(int layer, const float* qkv);
  void Prepare(LaneWork& work);
  void PrepareFull(LaneWork& work);
  void PrepareExact(LaneWork& work);
  void PrepareLocal(LaneWork& work);
  void AddGroup(LaneWork& work, int64_t begin, int64_t end, int64_t window_begin);
  void AddTiles(LaneWork& work, Tile tile, int64_t end);
  void GatherTiles(int lanes);
  cpu::AttentionTile KernelTile(const Tile& tile, const float* qkv, float* out);
  void AttendOne(size_t index, const float* qkv, float* out);
  void AddSums(int layer);
  void Finish(LaneWork& work);

  const BlockTable& before(const LaneWork& work) const {
    return work.tables->before[work.place.lane_class];
  }
  const BlockTable& after(const LaneWork& work) const {
    return work.tables->after[work.place.lane_class];
  }
  const LaneFormat& format(const LaneWork& work) const {
    return slabs_[work.place.lane_class].shape().format;
  }
  SlabLane slab_lane(const LaneWork& work) {
    return {&slabs_[work.place.lane_class], work.place.lane, work.tables->slot};
  }

  const AttentionShape shape_;
  const Storage storage_;                       // the cache's own type
  int max_heads_ = 0;                           // held heads of the layer that holds most
  bool exact_ = false;                          // the plan prefills local heads exactly
  std::vector<std::vector<CacheLane>> places_;  // [layer][held head]
  std::vector<SlabCpu> slabs_;                  // by lane class

  // Scratch of a step, reused by every layer.
  NewRowsCpu new_rows_;
  std::vector<float> lse_;  // [held head][max_rows][group]; where heads are split
  std::vector<LaneWork> works_;
  std::vector<Tile> tiles_;
  std::vector<size_t> cut_;  // first parts of cut tiles: indices into tiles_
  PartialResults partial_;
  std::vector<RepeatSums> tile_sums_;  // [tile][group]; empty where no chunk has a period
  std::map<std::pair<int, int>, RepeatSums> sums_;  // by layer and query head
  const Batch* batch_ = nullptr;
  const LaneTables* tables_ = nullptr;
};

}  // namespace headlong
