#include "worker/attention_cuda.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "common/status.h"
#include "worker/attention_cuda_kernels.h"
#include "worker/attention_cuda_plan.h"
#include "worker/attention_cuda_upload.h"
#include "worker/attention_memory_cuda.h"
#include "worker/kernels/prefill_cuda.h"
#include "worker/kernels/widen_cuda.h"
#include "worker/projection_cuda.h"
#include "worker/repeat_attention_cuda.h"
#include "worker/spectra_cuda.h"

namespace headlong {
namespace {

using cuda::CheckCuda;

// The decode rows of one layer that one launch takes, on the device.
struct LayerDecode {
  int launch = 0;  // index of the shape
  const DecodeItem* items = nullptr;
  const int32_t* cta_items = nullptr;
  const DecodeMerge* merges = nullptr;
  int merge_count = 0;
  uint64_t merge_bit = 0;  // of Launches::merges
};

// Those that come late share a bit: graphs are for few kinds of steps.
uint64_t MergeBit(int decode) { return uint64_t{1} << std::min(decode, 63); }

// Layers whose heads have the same classes and the same window: their decode rows are cut alike.
// The items made on the host are the first one's.
struct LayerKind {
  int first_layer = 0;
  std::vector<DecodePlan> plans;     // [launch]
  std::vector<LayerDecode> decodes;  // of launches that have lanes
};

}  // namespace

struct AttentionCuda::State {
  State(const AttentionShape& attention, const CacheShape& cache,
        const AttentionMemory::Kernels& kernels, cudaStream_t the_stream)
      : shape(attention),
        stream(the_stream),
        memory(attention, cache, kernels),
        scores(attention),
        spectra(attention) {}

  void FindKinds();
  LayerHeads Heads(int layer) const;
  cuda::LayerLanes Lanes(int layer) const;
  void ReserveDecode(int rows, LayerKind& kind);
  void PlanMoves(int rows);
  void PlanDecodeRows(int rows);
  void AttendChunks(int layer, const cuda::LayerLanes& lanes, float* out) const;
  void AttendWidened(cuda::PrefillAttention prefill) const;
  void AttendDecodeRows(int layer, float* out) const;
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(shape.head_dim)); }

  const AttentionShape shape;
  const cudaStream_t stream;
  AttentionMemory memory;
  ProjectionCuda projection;
  RepeatAttentionCuda scores;
  SpectraCuda spectra;
  Upload upload;

  // The batch: lists on the host, and where they are on the device.
  AttentionStep step;
  std::vector<uint32_t> tokens;
  std::vector<int32_t> sampled;
  std::vector<TokenDraw> draws;
  std::vector<DecodeLane> decode_lanes;
  std::vector<int> kind_of;  // [layer]
  std::vector<LayerKind> kinds;
  std::vector<std::vector<LayerDecode>> decodes;  // [layer]
  struct DecodeRoom {
    Upload::Room<DecodeItem> items;
    Upload::Room<int32_t> cta_items;
    Upload::Room<DecodeMerge> merges;
  };
  std::vector<std::vector<DecodeRoom>> rooms;  // [kind], as its decodes
  int decode_count = 0;                        // of all kinds
  std::vector<cuda::MovedItems> moved;
  cuda::MoveItems moves;
  uint64_t merges = 0;  // as in Launches
  const int32_t* positions = nullptr;
  const int32_t* row_chunks = nullptr;
  const int32_t* page_ids = nullptr;
  const ChunkLanes *chunks = nullptr, *widened_chunks = nullptr;
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
    if (entry.second) {
      kinds.push_back({layer, std::vector<DecodePlan>(memory.kernels.decode_shapes.size()), {}});
    }
    kind_of.push_back(entry.first->second);
    const LayerHeads first = Heads(kinds[kind_of[layer]].first_layer);
    memory.WriteShifts(layer, LaneShifts(first, Heads(layer)));
  }
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

// Room for the lists of a kind of layer: the same in every step of as many rows.
void AttentionCuda::State::ReserveDecode(int rows, LayerKind& kind) {
  kind.decodes.clear();
  rooms.emplace_back();
  const LayerHeads heads = Heads(kind.first_layer);
  for (int launch = 0; launch < static_cast<int>(kind.plans.size()); ++launch) {
    const int lanes = rows * HeadsOf(heads, launch), ctas = memory.kernels.decode_ctas[launch];
    if (lanes == 0) continue;
    DecodeRoom& room = rooms.back().emplace_back();
    room.items = upload.Reserve<DecodeItem>(MaxDecodeItems(lanes, ctas));
    room.cta_items = upload.Reserve<int32_t>(ctas + 1);
    room.merges = upload.Reserve<DecodeMerge>(MaxDecodeMerges(lanes, ctas));
    kind.decodes.push_back({launch, room.items.device, room.cta_items.device, room.merges.device,
                            MaxDecodeMerges(lanes, ctas), MergeBit(decode_count++)});
  }
}

// Lists for the layers whose items are made from those of another one.
void AttentionCuda::State::PlanMoves(int rows) {
  moved.clear();
  moves.most_items = 0;
  for (size_t layer = 0; layer < kind_of.size(); ++layer) {
    const LayerKind& kind = kinds[kind_of[layer]];
    decodes[layer] = kind.decodes;
    if (kind.first_layer == static_cast<int>(layer)) continue;
    const LayerHeads heads = Heads(static_cast<int>(layer));
    DecodeItem* to = memory.layer_items[layer];
    for (LayerDecode& decode : decodes[layer]) {
      const int ctas = memory.kernels.decode_ctas[decode.launch];
      const int most = MaxDecodeItems(rows * HeadsOf(heads, decode.launch), ctas);
      moved.push_back({decode.items, decode.cta_items + ctas, memory.layer_shifts[layer], to,
                       static_cast<int32_t>(heads.places.size())});
      decode.items = to;
      to += most;
      moves.most_items = std::max(moves.most_items, most);
    }
  }
  moves.layers = upload.Put<cuda::MovedItems>(moved);
  moves.layer_count = static_cast<int>(moved.size());
  moves.group = shape.group;
}

// Cuts the decode rows of every kind of layer. What varies from step to step is on the device; the
// page ids, whose number varies most, come last.
void AttentionCuda::State::PlanDecodeRows(int rows) {
  rooms.clear();
  decode_count = 0;
  for (LayerKind& kind : kinds) ReserveDecode(rows, kind);
  PlanMoves(rows);
  page_ids = upload.Put<int32_t>(step.page_ids);
  for (size_t i = 0; i < kinds.size(); ++i) {
    for (size_t k = 0; k < kinds[i].decodes.size(); ++k) {
      const LayerDecode& decode = kinds[i].decodes[k];
      DecodePlan& plan = kinds[i].plans[decode.launch];
      DecodeLanes(step, Heads(kinds[i].first_layer), decode.launch, page_ids, decode_lanes);
      PlanDecode(decode_lanes, memory.kernels.decode_ctas[decode.launch], plan);
      std::ranges::copy(plan.items, rooms[i][k].items.host);
      std::ranges::copy(plan.cta_items, rooms[i][k].cta_items.host);
      const auto end = std::ranges::copy(plan.merges, rooms[i][k].merges.host).out;
      std::fill(end, rooms[i][k].merges.host + decode.merge_count, DecodeMerge{});
      if (!plan.merges.empty()) merges |= decode.merge_bit;
    }
  }
}

void AttentionCuda::State::AttendChunks(int layer, const cuda::LayerLanes& lanes,
                                        float* out) const {
  cuda::PrefillAttention prefill;
  prefill.lanes = lanes;
  prefill.scale = scale();
  prefill.q = memory.q;
  prefill.out = out;
  prefill.lse = memory.lse;
  prefill.tiles = tiles;
  prefill.work = memory.prefill_work;
  prefill.tile_count = static_cast<int>(step.tiles.size());
  const int plain = HeadsOf(Heads(layer), AttentionMemory::kPlainLaunch);
  prefill.plain_lanes = plain > 0;
  prefill.other_lanes = plain < lanes.heads;
  CheckCuda(cuda::LaunchPrefill(prefill, stream), "attention of prompts");
  if (step.widened_rows > 0 && prefill.other_lanes) AttendWidened(prefill);
}

// As many heads at a time as there is room for.
void AttentionCuda::State::AttendWidened(cuda::PrefillAttention prefill) const {
  cuda::WidenLanes widen;
  widen.lanes = prefill.lanes;
  widen.to_chunks = widened_chunks;
  widen.chunk_count = static_cast<int>(step.lanes.size() / memory.classes.size());
  widen.most_rows = step.widened_rows;
  prefill.lanes.classes = memory.widened_classes;
  prefill.lanes.chunks = widened_chunks;
  prefill.widened = prefill.plain_lanes = true;
  prefill.other_lanes = false;
  for (int head = 0; head < prefill.lanes.heads; head += memory.widened_room.heads) {
    prefill.head_begin = head;
    prefill.head_end = std::min(head + memory.widened_room.heads, prefill.lanes.heads);
    widen.to = memory.widened_rows;
    widen.to.first_head = head;
    widen.head_end = prefill.head_end;
    CheckCuda(cuda::LaunchWiden(widen, stream), "widening codes");
    prefill.lanes.batch = prefill.lanes.prompt = widen.to;
    CheckCuda(cuda::LaunchPrefill(prefill, stream), "attention of prompts");
  }
}

void AttentionCuda::State::AttendDecodeRows(int layer, float* out) const {
  cuda::DecodeAttention decode;
  decode.scale = scale();
  decode.q = memory.q;
  decode.out = out;
  decode.lse = memory.lse;
  decode.part_out = memory.part_out;
  decode.part_lse = memory.part_lse;
  for (const LayerDecode& work : decodes[layer]) {
    decode.shape = memory.kernels.decode_shapes[work.launch];
    decode.items = work.items;
    decode.cta_items = work.cta_items;
    decode.ctas = memory.kernels.decode_ctas[work.launch];
    decode.merges = work.merges;
    decode.merge_count = (merges & work.merge_bit) != 0 ? work.merge_count : 0;
    CheckCuda(cuda::LaunchDecode(decode, stream), "attention of decode rows");
  }
}

AttentionCuda::AttentionCuda(std::unique_ptr<State> state) : state_(std::move(state)) {}
AttentionCuda::~AttentionCuda() = default;

absl::StatusOr<std::unique_ptr<AttentionCuda>> AttentionCuda::Create(
    const AttentionShape& attention, const CacheShape& cache, cudaStream_t stream) {
  ASSIGN_OR_RETURN(const AttentionMemory::Kernels kernels, ChooseKernels(attention, cache));
  auto state = std::make_unique<State>(attention, cache, kernels, stream);
  RETURN_IF_ERROR(state->memory.Take());
  ASSIGN_OR_RETURN(state->projection, ProjectionCuda::Create(attention));
  RETURN_IF_ERROR(state->upload.Take(state->memory.upload, state->memory.upload_bytes()));
  state->FindKinds();
  return std::unique_ptr<AttentionCuda>(new AttentionCuda(std::move(state)));
}

std::vector<AttentionSums> AttentionCuda::TakeSums() { return state_->scores.Take(state_->stream); }
std::vector<HeadMoments> AttentionCuda::TakeSpectra() { return state_->spectra.Take(); }

int64_t AttentionCuda::bytes() const { return state_->memory.bytes() + state_->projection.bytes(); }

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

void AttentionCuda::ResetSums(int slot) { state_->memory.ResetSums(slot, state_->stream); }

void AttentionCuda::CopyLane(const LaneCopy& copy, CopyWay way) {
  state_->memory.CopyLane(copy, way, state_->stream);
}

AttentionCuda::OnDevice AttentionCuda::BeginBatch(const Batch& batch, const LaneTables& tables,
                                                  int rows) {
  State& state = *state_;
  AttentionStep& step = state.step;
  PlanAttention(batch, tables, state.memory.kernels.tile_positions, step);
  PlanWidening(state.memory.classes, state.memory.widening(), step);
  state.scores.BeginBatch(batch);
  state.spectra.BeginBatch(batch);
  OnDevice result;
  result.padded = rows > 0 && PadDecodeStep(rows, state.memory.block_tokens(), step);
  state.upload.Begin();
  state.tokens = batch.tokens;
  state.tokens.resize(step.positions.size());
  result.tokens = state.upload.Put<uint32_t>(state.tokens);
  state.sampled = batch.sampled_rows();
  state.sampled.resize(step.positions.size());
  result.sampled = state.upload.Put<int32_t>(state.sampled);
  state.draws = batch.draws;
  if (result.padded && batch.wanted == Wanted::kTokens) state.draws.resize(rows);
  result.draws = state.upload.Put<TokenDraw>(state.draws);
  state.positions = state.upload.Put<int32_t>(step.positions);
  state.row_chunks = state.upload.Put<int32_t>(step.row_chunks);
  state.chunks = state.upload.Put<ChunkLanes>(step.lanes);
  state.widened_chunks = state.upload.Put<ChunkLanes>(step.widened);
  state.tiles = state.upload.Put<PrefillTile>(step.tiles);
  state.keeps = state.upload.Put<BlockJob>(step.keeps);
  state.folds.blocks = state.upload.Put<BlockJob>(step.folds);
  state.folds.block_count = static_cast<int32_t>(step.folds.size());
  state.folds.chunks = state.upload.Put<int32_t>(step.summed);
  state.folds.chunk_count = static_cast<int32_t>(step.summed.size());
  state.moves.layer_count = 0;
  state.merges = 0;
  if (step.decode_rows.empty()) {
    state.page_ids = state.upload.Put<int32_t>(step.page_ids);
  } else {
    state.PlanDecodeRows(static_cast<int>(result.padded ? rows : std::ssize(step.decode_rows)));
  }
  state.upload.Send(state.stream);
  result.launches = {static_cast<int>(step.positions.size()), static_cast<int>(step.folds.size()),
                     static_cast<int>(step.keeps.size()), state.merges, batch.wanted};
  return result;
}

void AttentionCuda::Prepare() {
  const State& state = *state_;
  cuda::RopeTable table;
  table.positions = state.positions;
  table.inverse_frequencies = state.memory.inverse_frequencies;
  table.scale = state.shape.rope_scale;
  table.rows = static_cast<int32_t>(state.step.positions.size());
  table.half = state.shape.head_dim / 2;
  table.cos_sin = state.memory.cos_sin;
  CheckCuda(cuda::LaunchRopeTable(table, state.stream), "the rotary table");
  CheckCuda(cuda::LaunchMoveItems(state.moves, state.stream), "the work of each layer");
}

void AttentionCuda::Run(int layer, float* qkv, float* out) {
  State& state = *state_;
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
  rows.rotated = state.projection.any(layer);
  state.spectra.Add(layer, qkv, rows.cos_sin, state.stream);
  state.projection.Project(layer, qkv, rows.rows, rows.cos_sin, state.stream);
  CheckCuda(cuda::LaunchStore(lanes, rows, state.stream), "storing keys and values");
  CheckCuda(cuda::LaunchFold(lanes, state.folds, state.stream), "sums of what leaves");
  if (out != nullptr) state.AttendChunks(layer, lanes, out);
  CheckCuda(cuda::LaunchKeep(lanes, state.keeps, static_cast<int>(step.keeps.size()), state.stream),
            "writing what windows keep");
  if (out == nullptr) return;
  if (!step.decode_rows.empty()) state.AttendDecodeRows(layer, out);
  cuda::ScoredChunk scored;
  scored.lanes = lanes;
  scored.scale = state.scale();
  scored.q = state.memory.q;
  scored.lse = state.memory.lse;
  state.scores.Add(layer, scored, state.stream);
  state.projection.Restore(layer, out, rows.rows, state.stream);
}

}  // namespace headlong
