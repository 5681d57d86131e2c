// What the attention of one batch does on a GPU, as lists for its kernels: which positions of which
// lanes are read, dropped, kept and computed by which block of threads. The same in every layer but
// for the lanes' places. Pure: pointers are carried, never followed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/batch.h"
#include "worker/kernels/append_plan.h"
#include "worker/kernels/decode_plan.h"
#include "worker/lane_tables.h"

namespace headlong {

// Sets what follows from a format of rows. REQUIRES: page_shift is set.
void SetFormat(const LaneFormat& format, int head_dim, DeviceClass& lane_class);

int64_t SumFloats(const DeviceClass& lane_class);  // of one lane in one slot

struct AttentionStep {
  std::vector<int32_t> positions;   // [rows]
  std::vector<int32_t> row_chunks;  // [rows]
  std::vector<int32_t> page_ids;
  std::vector<ChunkLanes> lanes;     // [chunk][class]
  std::vector<PrefillTile> tiles;    // of chunks that are no decode rows, most work first
  std::vector<BlockJob> folds;       // blocks that leave some lane of a chunk
  std::vector<int32_t> summed;       // chunks whose running sums move or are read as tokens
  std::vector<BlockJob> keeps;       // blocks of which some local lane keeps a position
  std::vector<int32_t> decode_rows;  // chunks of one token, which attend to what is kept
  std::vector<const SequenceTables*> decode_tables;  // of those, alive while the tables are
  int32_t tokens = 0;                                // entries of sums that the chunks need
  // Of the lanes that are widened, where their rows are then ([chunk][class]), and how many rows
  // one has at most. 0: none is, and there is no list.
  std::vector<ChunkLanes> widened;
  int32_t widened_rows = 0;
  std::vector<int64_t> widened_taken;  // [class] scratch
};

// Overwrites `step`, whose memory is reused. REQUIRES: the chunks are advanced in `tables`.
// tile_positions: of a PrefillTile, at least 1.
void PlanAttention(const Batch& batch, const LaneTables& tables, int tile_positions,
                   AttentionStep& step);

// What is widened, where, and for whom it is worth it.
struct WideningLimits {
  static constexpr int32_t kSinkPageShift = 20;  // log2 of the tokens of the page that sinks make

  int64_t rows = 0;   // that there is room for, of each head
  int positions = 0;  // of a chunk, at least
};
// Chooses the lanes of prompts' chunks that are widened: in order, while there is room. REQUIRES:
// PlanAttention.
void PlanWidening(std::span<const DeviceClass> classes, const WideningLimits& limits,
                  AttentionStep& step);

// Lengthens the lists of a step of decode rows to what any step of `rows` of them may need, with
// entries that mean nothing. False, and `step` as it was, where they need more. REQUIRES: no tiles,
// at most `rows` chunks.
bool PadDecodeStep(int rows, int block_tokens, AttentionStep& step);

// Bounds on what a step needs.
struct StepLimits {
  int rows = 0;
  int chunks = 0;
  int block_tokens = 16;
  int64_t prompt_tokens = 0;  // longest exact prefill, 0: none
};
int64_t MaxBlockJobs(const StepLimits& limits);  // folds, or keeps
int64_t MaxTokens(const StepLimits& limits);

// One layer's held heads.
struct LayerHeads {
  std::span<const DeviceClass> classes;
  std::span<const HeadPlace> places;  // [heads]
  int group = 1;
  int head_dim = 0;
  int64_t window = 0;  // of the model, 0: none
};

// The lanes of the step's decode rows that one launch takes (DeviceClass::launch), by decode row
// and head. page_ids: where those of the step are.
void DecodeLanes(const AttentionStep& step, const LayerHeads& heads, int launch,
                 const int32_t* page_ids, std::vector<DecodeLane>& lanes);

// How many of the heads are in lanes of a launch.
int HeadsOf(const LayerHeads& heads, int launch);

// By head: from the lanes of a layer to those of another whose heads have the same classes.
std::vector<LaneShift> LaneShifts(const LayerHeads& from, const LayerHeads& to);

}  // namespace headlong
