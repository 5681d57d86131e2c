#include "worker/attention_cuda.h"

#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "common/status.h"
#include "worker/attention_cuda_plan.h"
#include "worker/attention_cuda_upload.h"
#include "worker/attention_memory_cuda.h"
#include "worker/kernels/prefill_cuda.h"

namespace headlong {
namespace {

using cuda::CheckCuda;

// The decode rows of one layer, on the device.
struct LayerDecode {
  const DecodeItem* items = nullptr;
  const int32_t* cta_items = nullptr;
  const DecodeMerge* merges = nullptr;
  int merge_count = 0;
};

// Layers whose heads have the same classes and the same window: their decode rows are cut alike.
struct LayerKind {
  DecodePlan plan;
  int layer = -1;  // whose lanes the items are; -1: not planned for this batch
  LayerDecode decode;
};

absl::Status CheckShape(const AttentionShape& attention) {
  const int d = attention.head_dim;
  if (d != 64 && d != 80 && d != 96 && d != 128 && d != 256) {
    return absl::InvalidArgumentError(
        absl::StrCat("head_dim ", d, ": attention on a GPU takes 64, 80, 96, 128 or 256"));
  }
  if (attention.group < 1 || attention.group > cuda::kMaxGroup) {
    return absl::InvalidArgumentError(
        absl::StrCat(attention.group, " query heads per KV head: attention on a GPU takes 1 to ",
                     cuda::kMaxGroup));
  }
  if (std::ssize(attention.inverse_frequencies) != d / 2) {
    return absl::InvalidArgumentError(
        absl::StrCat(attention.inverse_frequencies.size(), " rotary frequencies for head_dim ", d));
  }
  return absl::OkStatus();
}

}  // namespace

struct AttentionCuda::State {
  State(const AttentionShape& attention, const CacheShape& cache,
        const AttentionMemory::Kernels& kernels, cudaStream_t the_stream)
      : shape(attention), stream(the_stream), memory(attention, cache, kernels) {}

  void FindKinds();
  LayerHeads Heads(int layer) const;
  cuda::LayerLanes Lanes(int layer) const;
  void PlanDecodeRows(int layer);
  void AttendDecodeRows(int layer, float* out) const;

  const AttentionShape shape;
  const cudaStream_t stream;
  AttentionMemory memory;
  Upload upload;

  // The batch: lists on the host, and where they are on the device.
  AttentionStep step;
  std::vector<DecodeLane> decode_lanes;
  std::vector<int> kind_of;          // [layer]
  std::vector<LayerKind> kinds;      // one per kind
  std::vector<LayerDecode> decodes;  // [layer]
  const int32_t* positions = nullptr;
  const int32_t* row_chunks = nullptr;
  const int32_t* page_ids = nullptr;
  const ChunkLanes* chunks = nullptr;
  const PrefillTile* tiles = nullptr;
  const BlockJob* keeps = nullptr;
  cuda::FoldJobs folds;
};

void AttentionCuda::State::FindKinds() {
  std::map<std::pair<std::vector<int>, int64_t>, int> known;
  for (int layer = 0; layer < static_cast<int>(memory.places.size()); ++layer) {
    std::vector<int> classes;
    for (const HeadPlace& place : memory.places[layer]) classes.push_back(place.lane_class);
    const auto entry = known.try_emplace({std::move(classes), Heads(layer).window},
                                         static_cast<int>(known.size()));
    kind_of.push_back(entry.first->second);
  }
  kinds.resize(known.size());
  decodes.resize(kind_of.size());
}

LayerHeads AttentionCuda::State::Heads(int layer) const {
  return {.classes = memory.classes,
          .places = memory.places[layer],
          .group = shape.group,
          .head_dim = shape.head_dim,
          .window = shape.windows.empty() ? 0 : shape.windows[layer]};
}

cuda::LayerLanes AttentionCuda::State::Lanes(int layer) const {
  cuda::LayerLanes lanes;
  lanes.shape = memory.kernels.shape;
  lanes.heads = static_cast<int32_t>(memory.places[layer].size());
  lanes.class_count = static_cast<int32_t>(memory.classes.size());
  lanes.window = static_cast<int32_t>(Heads(layer).window);
  lanes.places = memory.device_places[layer];
  lanes.classes = memory.device_classes;
  lanes.chunks = chunks;
  lanes.page_ids = page_ids;
  lanes.batch = memory.batch_rows;
  lanes.prompt = memory.prompt_rows;
  lanes.tokens = memory.tokens;
  lanes.token_capacity = memory.token_capacity;
  return lanes;
}

void AttentionCuda::State::PlanDecodeRows(int layer) {
  LayerKind& kind = kinds[kind_of[layer]];
  const LayerHeads heads = Heads(layer);
  if (kind.layer < 0) {
    DecodeLanes(step, heads, page_ids, decode_lanes);
    PlanDecode(decode_lanes, memory.kernels.decode_ctas, kind.plan);
    kind.decode.cta_items = upload.Put<int32_t>(kind.plan.cta_items);
    kind.decode.merges = upload.Put<DecodeMerge>(kind.plan.merges);
    kind.decode.merge_count = static_cast<int>(kind.plan.merges.size());
  } else {
    MoveItems(Heads(kind.layer), heads, kind.plan.items);
  }
  kind.layer = layer;
  kind.decode.items = upload.Put<DecodeItem>(kind.plan.items);
  decodes[layer] = kind.decode;
}

void AttentionCuda::State::AttendDecodeRows(int layer, float* out) const {
  const LayerDecode& work = decodes[layer];
  cuda::DecodeAttention decode;
  decode.shape = memory.kernels.shape;
  decode.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  decode.q = memory.q;
  decode.out = out;
  decode.lse = memory.lse;
  decode.items = work.items;
  decode.cta_items = work.cta_items;
  decode.ctas = memory.kernels.decode_ctas;
  decode.merges = work.merges;
  decode.merge_count = work.merge_count;
  decode.part_out = memory.part_out;
  decode.part_lse = memory.part_lse;
  CheckCuda(cuda::LaunchDecode(decode, stream), "attention of decode rows");
}

AttentionCuda::AttentionCuda(std::unique_ptr<State> state) : state_(std::move(state)) {}
AttentionCuda::~AttentionCuda() = default;

absl::StatusOr<std::unique_ptr<AttentionCuda>> AttentionCuda::Create(
    const AttentionShape& attention, const CacheShape& cache, cudaStream_t stream) {
  RETURN_IF_ERROR(CheckShape(attention));
  AttentionMemory::Kernels kernels;
  kernels.shape.type = cache.storage == Storage::kFloat32 ? cuda::ElementType::kFloat32
                                                          : cuda::ElementType::kBfloat16;
  kernels.shape.head_dim = attention.head_dim;
  kernels.shape.group = attention.group;
  kernels.decode_ctas = cuda::PrepareDecode(kernels.shape);
  kernels.tile_positions = cuda::PreparePrefill(kernels.shape);
  if (kernels.decode_ctas == 0 || kernels.tile_positions == 0) {
    cudaGetLastError();  // it is told here, and by no later call
    return absl::FailedPreconditionError(
        "attention: no GPU of compute capability 9.0 runs its kernels");
  }
  auto state = std::make_unique<State>(attention, cache, kernels, stream);
  RETURN_IF_ERROR(state->memory.Take());
  RETURN_IF_ERROR(state->upload.Take(state->memory.upload, state->memory.upload_bytes()));
  state->FindKinds();
  return std::unique_ptr<AttentionCuda>(new AttentionCuda(std::move(state)));
}

int64_t AttentionCuda::bytes() const { return state_->memory.bytes(); }

StripeRows AttentionCuda::Stripes(int layer, int rows) const {
  const AttentionShape& shape = state_->shape;
  StripeRows result;
  result.own = state_->memory.device_parts[layer];
  result.own_count = static_cast<int>(shape.stripes[layer].own.size());
  result.parts = shape.stripes[layer].parts;
  result.rows = rows;
  result.heads = static_cast<int>(shape.heads[layer].size());
  result.group = shape.group;
  result.head_dim = shape.head_dim;
  result.lse = state_->memory.lse;  // [rows][heads * group]
  result.head_stride = shape.group;
  result.row_stride = int64_t{result.heads} * shape.group;
  return result;
}

void AttentionCuda::ResetSums(int slot) {
  const AttentionMemory& memory = state_->memory;
  for (size_t c = 0; c < memory.classes.size(); ++c) {
    if (memory.slots(c) == 0) continue;
    const int64_t floats = int64_t{memory.classes[c].lanes} * 2 * state_->shape.head_dim;
    CheckCuda(cudaMemsetAsync(memory.classes[c].sums + slot * floats, 0, floats * sizeof(float),
                              state_->stream),
              "zeroing sums");
  }
}

void AttentionCuda::BeginBatch(const Batch& batch, const LaneTables& tables) {
  State& state = *state_;
  AttentionStep& step = state.step;
  PlanAttention(batch, tables, state.memory.kernels.tile_positions, step);
  state.upload.Begin();
  state.page_ids = state.upload.Put<int32_t>(step.page_ids);
  state.positions = state.upload.Put<int32_t>(step.positions);
  state.row_chunks = state.upload.Put<int32_t>(step.row_chunks);
  state.chunks = state.upload.Put<ChunkLanes>(step.lanes);
  state.tiles = state.upload.Put<PrefillTile>(step.tiles);
  state.keeps = state.upload.Put<BlockJob>(step.keeps);
  state.folds.blocks = state.upload.Put<BlockJob>(step.folds);
  state.folds.block_count = static_cast<int32_t>(step.folds.size());
  state.folds.chunks = state.upload.Put<int32_t>(step.summed);
  state.folds.chunk_count = static_cast<int32_t>(step.summed.size());
  for (LayerKind& kind : state.kinds) kind.layer = -1;
  if (!step.decode_rows.empty()) {
    for (int layer = batch.layer_begin; layer < batch.layer_end; ++layer) {
      if (!state.memory.places[layer].empty()) state.PlanDecodeRows(layer);
    }
  }
  state.upload.Send(state.stream);
  cuda::RopeTable table;
  table.positions = state.positions;
  table.inverse_frequencies = state.memory.inverse_frequencies;
  table.scale = state.shape.rope_scale;
  table.rows = batch.rows();
  table.half = state.shape.head_dim / 2;
  table.cos_sin = state.memory.cos_sin;
  CheckCuda(cuda::LaunchRopeTable(table, state.stream), "the rotary table");
}

void AttentionCuda::Run(int layer, const float* qkv, float* out) {
  const State& state = *state_;
  const AttentionStep& step = state.step;
  const cuda::LayerLanes lanes = state.Lanes(layer);
  if (lanes.heads == 0) return;
  cuda::StoreRows rows;
  rows.qkv = qkv;
  rows.cos_sin = state.memory.cos_sin;
  rows.positions = state.positions;
  rows.row_chunks = state.row_chunks;
  rows.rows = static_cast<int32_t>(step.positions.size());
  rows.q = state.memory.q;
  CheckCuda(cuda::LaunchStore(lanes, rows, state.stream), "storing keys and values");
  CheckCuda(cuda::LaunchFold(lanes, state.folds, state.stream), "sums of what leaves");
  cuda::PrefillAttention prefill;
  prefill.lanes = lanes;
  prefill.scale = 1.0f / std::sqrt(static_cast<float>(state.shape.head_dim));
  prefill.q = state.memory.q;
  prefill.out = out;
  prefill.lse = state.memory.lse;
  prefill.tiles = state.tiles;
  prefill.tile_count = static_cast<int>(step.tiles.size());
  CheckCuda(cuda::LaunchPrefill(prefill, state.stream), "attention of prompts");
  CheckCuda(cuda::LaunchKeep(lanes, state.keeps, static_cast<int>(step.keeps.size()), state.stream),
            "writing what windows keep");
  if (!step.decode_rows.empty()) state.AttendDecodeRows(layer, out);
}

}  // namespace headlong
