#include "worker/attention_cuda.h"

#include <algorithm>
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
// The items made on the host are the first one's.
struct LayerKind {
  int first_layer = 0;
  DecodePlan plan;
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

absl::Status CheckStorage(const CacheShape& cache) {
  for (const LaneClass& lane_class : *cache.classes) {
    const HeadPolicy& policy = cache.plan->policies()[lane_class.policy];
    if (policy.rank.projected() || policy.rotation != Rotation::kNone) {
      return absl::UnimplementedError(absl::StrCat(
          "policy \"", policy.name, "\": ", policy.rank.projected() ? "rank" : "rotation",
          ": GPUs store keys and values as the model has them; leave it out, or use --device cpu"));
    }
    if (!policy.storage.coded()) continue;
    return absl::UnimplementedError(absl::StrCat("policy \"", policy.name,
                                                 "\": storage: GPUs store keys and values as plain "
                                                 "numbers; leave it out, or use --device cpu"));
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
  void PlanDecodeRows(int rows);
  void AttendDecodeRows(int layer, float* out) const;

  const AttentionShape shape;
  const cudaStream_t stream;
  AttentionMemory memory;
  Upload upload;

  // The batch: lists on the host, and where they are on the device.
  AttentionStep step;
  std::vector<uint32_t> tokens;
  std::vector<int32_t> sampled;
  std::vector<TokenDraw> draws;
  std::vector<DecodeLane> decode_lanes;
  std::vector<int> kind_of;  // [layer]
  std::vector<LayerKind> kinds;
  std::vector<LayerDecode> decodes;  // [layer]
  cuda::MoveItems moves;
  bool merges = false;  // some lane is cut
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
    if (entry.second) kinds.push_back({layer, {}, {}});
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

// Cuts the decode rows of every kind of layer. What varies from step to step is on the device; the
// page ids, whose number varies most, come last.
void AttentionCuda::State::PlanDecodeRows(int rows) {
  struct KindRooms {
    Upload::Room<DecodeItem> items;
    Upload::Room<int32_t> cta_items;
    Upload::Room<DecodeMerge> merges;
  };
  const int ctas = memory.kernels.decode_ctas;
  std::vector<cuda::MovedItems> moved;
  std::vector<KindRooms> rooms;
  for (LayerKind& kind : kinds) {
    const int lanes = rows * static_cast<int>(memory.places[kind.first_layer].size());
    KindRooms& room = rooms.emplace_back();
    room.items = upload.Reserve<DecodeItem>(MaxDecodeItems(lanes, ctas));
    room.cta_items = upload.Reserve<int32_t>(ctas + 1);
    room.merges = upload.Reserve<DecodeMerge>(MaxDecodeMerges(lanes, ctas));
    kind.decode = {room.items.device, room.cta_items.device, room.merges.device,
                   MaxDecodeMerges(lanes, ctas)};
  }
  moves.most_items = 0;
  for (size_t layer = 0; layer < kind_of.size(); ++layer) {
    const LayerKind& kind = kinds[kind_of[layer]];
    decodes[layer] = kind.decode;
    const auto heads = static_cast<int32_t>(memory.places[layer].size());
    if (kind.first_layer == static_cast<int>(layer) || heads == 0) continue;
    decodes[layer].items = memory.layer_items[layer];
    moved.push_back({kind.decode.items, kind.decode.cta_items + ctas, memory.layer_shifts[layer],
                     memory.layer_items[layer], heads});
    moves.most_items = std::max(moves.most_items, MaxDecodeItems(rows * heads, ctas));
  }
  moves.layers = upload.Put<cuda::MovedItems>(moved);
  moves.layer_count = static_cast<int>(moved.size());
  moves.group = shape.group;
  page_ids = upload.Put<int32_t>(step.page_ids);
  for (size_t i = 0; i < kinds.size(); ++i) {
    DecodeLanes(step, Heads(kinds[i].first_layer), page_ids, decode_lanes);
    PlanDecode(decode_lanes, ctas, kinds[i].plan);
    std::ranges::copy(kinds[i].plan.items, rooms[i].items.host);
    std::ranges::copy(kinds[i].plan.cta_items, rooms[i].cta_items.host);
    const auto end = std::ranges::copy(kinds[i].plan.merges, rooms[i].merges.host).out;
    std::fill(end, rooms[i].merges.host + kinds[i].decode.merge_count, DecodeMerge{});
  }
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
  decode.merge_count = merges ? work.merge_count : 0;
  decode.part_out = memory.part_out;
  decode.part_lse = memory.part_lse;
  CheckCuda(cuda::LaunchDecode(decode, stream), "attention of decode rows");
}

AttentionCuda::AttentionCuda(std::unique_ptr<State> state) : state_(std::move(state)) {}
AttentionCuda::~AttentionCuda() = default;

absl::StatusOr<std::unique_ptr<AttentionCuda>> AttentionCuda::Create(
    const AttentionShape& attention, const CacheShape& cache, cudaStream_t stream) {
  RETURN_IF_ERROR(CheckShape(attention));
  RETURN_IF_ERROR(CheckStorage(cache));
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

void AttentionCuda::CopyLane(const LaneCopy& copy, CopyWay way) {
  const DeviceClass& lanes = state_->memory.classes[copy.place.lane_class];
  const bool to_host = way == CopyWay::kToHost;
  const cudaMemcpyKind kind = to_host ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice;
  const int64_t bytes = 2 * lanes.half_bytes;
  const auto count = static_cast<int64_t>(copy.pages.size());
  for (int64_t begin = 0, end = 0; begin < count; begin = end) {
    // Pages that stand side by side in both places are one copy.
    for (end = begin + 1; end < count && copy.pages[end] == copy.pages[end - 1] + 1;) ++end;
    std::byte* cached =
        lanes.pages + copy.pages[begin] * lanes.page_stride + copy.place.lane * bytes;
    std::byte* host = copy.host_pages + begin * bytes;
    const int64_t cached_pitch = lanes.page_stride;
    CheckCuda(cudaMemcpy2DAsync(to_host ? host : cached, to_host ? bytes : cached_pitch,
                                to_host ? cached : host, to_host ? cached_pitch : bytes, bytes,
                                end - begin, kind, state_->stream),
              "copying pages");
  }
  if (copy.host_sums == nullptr) return;
  const int64_t floats = int64_t{2} * state_->shape.head_dim;
  float* cached = lanes.sums + (int64_t{copy.slot} * lanes.lanes + copy.place.lane) * floats;
  CheckCuda(cudaMemcpyAsync(to_host ? copy.host_sums : cached, to_host ? cached : copy.host_sums,
                            floats * sizeof(float), kind, state_->stream),
            "copying sums");
}

AttentionCuda::OnDevice AttentionCuda::BeginBatch(const Batch& batch, const LaneTables& tables,
                                                  int rows) {
  State& state = *state_;
  AttentionStep& step = state.step;
  PlanAttention(batch, tables, state.memory.kernels.tile_positions, step);
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
  state.tiles = state.upload.Put<PrefillTile>(step.tiles);
  state.keeps = state.upload.Put<BlockJob>(step.keeps);
  state.folds.blocks = state.upload.Put<BlockJob>(step.folds);
  state.folds.block_count = static_cast<int32_t>(step.folds.size());
  state.folds.chunks = state.upload.Put<int32_t>(step.summed);
  state.folds.chunk_count = static_cast<int32_t>(step.summed.size());
  state.moves.layer_count = 0;
  state.merges = false;
  if (step.decode_rows.empty()) {
    state.page_ids = state.upload.Put<int32_t>(step.page_ids);
  } else {
    state.PlanDecodeRows(static_cast<int>(result.padded ? rows : std::ssize(step.decode_rows)));
    for (const LayerKind& kind : state.kinds) state.merges |= !kind.plan.merges.empty();
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
