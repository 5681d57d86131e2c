#include "worker/attention_cpu.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/status.h"
#include "worker/kernels/thread_team.h"

namespace headlong {
namespace {

// First position after `m` whose window begins elsewhere, at most `end`.
int64_t GroupEnd(const LaneRule& rule, int64_t m, int64_t end) {
  const int64_t window_begin = WindowStart(rule, m);
  while (m < end && WindowStart(rule, m) == window_begin) ++m;
  return m;
}

// Where the window began for the last committed query; the sums hold [S, this).
int64_t FoldedUntil(const LaneRule& rule, int64_t committed) {
  return committed == 0 ? rule.sinks : WindowStart(rule, committed - 1);
}

// call(i) for i in [0, count) on all threads: by the team where the step has few rows.
template <typename Call>
void ForEach(bool few, int count, const Call& call) {
  if (few) return cpu::RunPieces(count, call);
#pragma omp parallel for schedule(dynamic)
  for (int i = 0; i < count; ++i) call(i);
}

}  // namespace

AttentionCpu::AttentionCpu(const AttentionShape& attention, const CacheShape& cache)
    : shape_(attention), storage_(cache.storage) {
  places_.resize(shape_.heads.size());
  for (size_t layer = 0; layer < shape_.heads.size(); ++layer) {
    places_[layer].resize(shape_.heads[layer].size());
    max_heads_ = std::max(max_heads_, static_cast<int>(shape_.heads[layer].size()));
  }
  for (size_t c = 0; c < cache.classes->size(); ++c) {
    const LaneClass& lane_class = (*cache.classes)[c];
    if (!cache.plan->policies()[lane_class.policy].full()) {
      exact_ |= cache.plan->prefill() == PrefillMode::kExact;
    }
    for (size_t lane = 0; lane < lane_class.lanes.size(); ++lane) {
      const LaneId id = lane_class.lanes[lane];
      const std::vector<int>& heads = shape_.heads[id.layer];
      const auto held = std::lower_bound(heads.begin(), heads.end(), id.head) - heads.begin();
      places_[id.layer][held] = {static_cast<int>(c), static_cast<int>(lane)};
    }
  }
}

absl::StatusOr<std::unique_ptr<AttentionCpu>> AttentionCpu::Create(const AttentionShape& attention,
                                                                   const CacheShape& cache) {
  std::unique_ptr<AttentionCpu> result(new AttentionCpu(attention, cache));
  RETURN_IF_ERROR(result->TakeMemory(cache));
  return result;
}

absl::Status AttentionCpu::TakeMemory(const CacheShape& cache) {
  std::vector<LaneFormat> formats;
  for (size_t c = 0; c < cache.classes->size(); ++c) {
    const LaneClass& lane_class = (*cache.classes)[c];
    const LaneRule rule = lane_class.rule(*cache.plan, shape_.max_context);
    SlabShape slab;
    slab.pages = cache.class_pages[c];
    slab.lanes = static_cast<int>(lane_class.lanes.size());
    slab.page_tokens = rule.page_tokens();
    slab.format = rule.format(shape_.head_dim, storage_);
    slab.sum_slots = rule.compensates() ? cache.max_sequences : 0;
    slab.sink_slots = slab.format.sinks > 0 ? cache.max_sequences : 0;
    ASSIGN_OR_RETURN(SlabCpu created, SlabCpu::Create(slab));
    slabs_.push_back(std::move(created));
    formats.push_back(slab.format);
  }
  const bool splits = std::any_of(shape_.stripes.begin(), shape_.stripes.end(),
                                  [](const LayerStripes& layer) { return !layer.own.empty(); });
  if (splits) lse_.resize(int64_t{max_heads_} * shape_.max_rows * shape_.group);
  ASSIGN_OR_RETURN(
      new_rows_,
      NewRowsCpu::Create({max_heads_, shape_.max_rows, exact_ ? shape_.max_context : 0}, formats));
  return absl::OkStatus();
}

StripeRows AttentionCpu::Stripes(int layer, int rows) const {
  const LayerStripes& stripes = shape_.stripes[layer];
  StripeRows result;
  result.own = stripes.own.data();
  result.own_count = static_cast<int>(stripes.own.size());
  result.parts = stripes.parts;
  result.rows = rows;
  result.heads = static_cast<int>(shape_.heads[layer].size());
  result.group = shape_.group;
  result.head_dim = shape_.head_dim;
  result.lse = lse_.data();
  result.head_stride = int64_t{shape_.max_rows} * shape_.group;
  result.row_stride = shape_.group;
  return result;
}

void AttentionCpu::ResetSums(int slot) {
  for (SlabCpu& slab : slabs_) {
    if (slab.shape().sum_slots > 0) slab.ResetSums(slot);
  }
}

void AttentionCpu::CopyLane(const LaneCopy& copy, CopyWay way) {
  SlabCpu& slab = slabs_[copy.place.lane_class];
  const LaneFormat& format = slab.shape().format;
  const auto move = [way](void* cached, void* host, int64_t bytes) {
    way == CopyWay::kToHost ? std::memcpy(host, cached, bytes) : std::memcpy(cached, host, bytes);
  };
  const int64_t bytes = slab.shape().page_tokens * format.token_bytes();  // keys, then values
  for (size_t i = 0; i < copy.pages.size(); ++i) {
    move(slab.keys(copy.pages[i], copy.place.lane).codes, copy.host_pages + i * bytes, bytes);
  }
  if (copy.host_sums != nullptr) {
    move(slab.sums(copy.slot, copy.place.lane), copy.host_sums,
         format.sum_floats() * int64_t{sizeof(float)});
  }
  if (copy.host_sinks != nullptr) {
    move(slab.sink_keys(copy.slot, copy.place.lane).codes, copy.host_sinks, format.sink_bytes());
  }
}

void AttentionCpu::BeginBatch(const Batch& batch, const LaneTables& tables) {
  batch_ = &batch;
  tables_ = &tables;
}

void AttentionCpu::Run(int layer, const float* qkv, float* out) {
  const int heads = static_cast<int>(shape_.heads[layer].size());
  if (heads == 0) return;
  const int lanes = heads * static_cast<int>(batch_->chunks.size());
  if (static_cast<int>(works_.size()) < lanes) works_.resize(lanes);
  RoundNewRows(layer, qkv);
  for (int i = 0; i < lanes; ++i) {
    LaneWork& work = works_[i];
    work.chunk = &batch_->chunks[i / heads];
    work.tables = &tables_->tables(work.chunk->sequence_id);
    work.head = i % heads;
    work.layer_heads = heads;
    work.window = shape_.windows.empty() ? 0 : shape_.windows[layer];
    work.slopes = shape_.alibi_slopes.empty()
                      ? nullptr
                      : &shape_.alibi_slopes[shape_.heads[layer][work.head] * shape_.group];
    work.place = places_[layer][work.head];
    work.rows = new_rows_.OfChunk(work.head, format(work), *work.chunk);
  }
  const bool few = batch_->rows() <= cpu::kTeamRows;
  ForEach(few, lanes, [&](int i) { Prepare(works_[i]); });
  if (out != nullptr) {
    GatherTiles(lanes);
    ForEach(few, static_cast<int>(tiles_.size()), [&](int i) { AttendOne(i, qkv, out); });
    ForEach(few, static_cast<int>(cut_.size()), [&](int i) {
      const Tile& tile = tiles_[cut_[i]];
      partial_.Merge(tile.result, tile.parts, KernelTile(tile, qkv, out));
    });
    AddSums(layer);
  }
  ForEach(few, lanes, [&](int i) { Finish(works_[i]); });
}

void AttentionCpu::GatherTiles(int lanes) {
  tiles_.clear();
  cut_.clear();
  int results = 0;
  for (int i = 0; i < lanes; ++i) {
    for (Tile& tile : works_[i].tiles) {
      tile.work = i;
      if (tile.parts > 1) {
        tile.result = results++;
        if (tile.part == 0) cut_.push_back(tiles_.size());
      }
      tiles_.push_back(tile);
    }
  }
  partial_.Resize(results, shape_.head_dim);
  const bool scored = std::any_of(batch_->chunks.begin(), batch_->chunks.end(),
                                  [](const Chunk& chunk) { return chunk.scores_attention(); });
  tile_sums_.assign(scored ? tiles_.size() * shape_.group : 0, RepeatSums());
}

// In the order of the tiles, whoever computed them.
void AttentionCpu::AddSums(int layer) {
  if (tile_sums_.empty()) return;
  for (size_t i = 0; i < tiles_.size(); ++i) {
    const int head = shape_.heads[layer][works_[tiles_[i].work].head];
    for (int g = 0; g < shape_.group; ++g) {
      RepeatSums& sum = sums_[{layer, head * shape_.group + g}];
      sum.echo += tile_sums_[i * shape_.group + g].echo;
      sum.induction += tile_sums_[i * shape_.group + g].induction;
      sum.copied += tile_sums_[i * shape_.group + g].copied;
    }
  }
}

std::vector<AttentionSums> AttentionCpu::TakeSums() {
  std::vector<AttentionSums> result;
  for (const auto& [place, sum] : std::exchange(sums_, {})) {
    result.push_back({place.first, place.second, sum.echo, sum.induction, sum.copied});
  }
  return result;
}

// k and v of the batch, rounded to what their lanes store before any use, head by head.
void AttentionCpu::RoundNewRows(int layer, const float* qkv) {
  const int heads = static_cast<int>(shape_.heads[layer].size());
  const int d = shape_.head_dim;
  const int64_t columns = int64_t{heads} * (shape_.group + 2) * d;
  const float* keys = qkv + int64_t{heads} * shape_.group * d;
  const float* values = keys + int64_t{heads} * d;
  for (int head = 0; head < heads; ++head) {
    const LaneFormat& format = slabs_[places_[layer][head].lane_class].shape().format;
    new_rows_.Round(head, format, keys + head * d, values + head * d, columns, *batch_);
  }
}

void AttentionCpu::Prepare(LaneWork& work) {
  work.runs.clear();
  work.tiles.clear();
  work.tokens.clear();
  if (before(work).rule().full) {
    PrepareFull(work);
  } else if (work.chunk->exact) {
    PrepareExact(work);
  } else {
    PrepareLocal(work);
  }
}

// Everything is kept: write first, then read all of it from the cache.
void AttentionCpu::PrepareFull(LaneWork& work) {
  WriteKept(after(work), slab_lane(work), work.rows);
  const int64_t first = work.window > 0 ? work.chunk->position + 1 - work.window : 0;
  KeptRuns(after(work), slab_lane(work), {std::max<int64_t>(first, 0), work.chunk->end()},
           work.runs);
  Tile tile;
  tile.position = work.chunk->position;
  tile.run_end = work.runs.size();
  AddTiles(work, tile, work.chunk->end());
}

// RazorAttention's prefill: all of the prompt is at hand for this one layer.
void AttentionCpu::PrepareExact(LaneWork& work) {
  const Chunk& chunk = *work.chunk;
  work.rows = new_rows_.AddToPrompt(work.head, format(work), chunk);
  NewRuns(format(work), work.rows, {0, chunk.end()}, work.runs);
  Tile tile;
  tile.position = chunk.position;
  tile.run_end = work.runs.size();
  AddTiles(work, tile, chunk.end());
}

// Queries with the same window share one set of runs and one compensation token.
void AttentionCpu::PrepareLocal(LaneWork& work) {
  const LaneRule& rule = before(work).rule();
  const bool compensates = rule.compensation == Compensation::kMean;
  if (compensates) {
    const float* sums = slabs_[work.place.lane_class].sums(work.tables->slot, work.place.lane);
    work.running.assign(sums, sums + format(work).sum_floats());
  }
  int64_t folded = FoldedUntil(rule, work.chunk->position);
  for (int64_t begin = work.chunk->position; begin < work.chunk->end();) {
    const int64_t end = GroupEnd(rule, begin, work.chunk->end());
    const int64_t window_begin = WindowStart(rule, begin);
    if (compensates && window_begin > folded) {
      FoldDropped(before(work), slab_lane(work), work.rows, {folded, window_begin},
                  work.running.data());
    }
    folded = std::max(folded, window_begin);
    AddGroup(work, begin, end, window_begin);
    begin = end;
  }
}

void AttentionCpu::AddGroup(LaneWork& work, int64_t begin, int64_t end, int64_t window_begin) {
  const LaneRule& rule = before(work).rule();
  const int64_t cached = work.chunk->position;
  Tile tile;
  tile.position = begin;
  tile.run_begin = work.runs.size();
  // Sinks, then window; each first from the cache, then from this step's rows.
  const int64_t ranges[2][2] = {{0, std::min(rule.sinks, end)}, {window_begin, end}};
  for (const auto& [from, to] : ranges) {
    if (from < std::min(to, cached)) {
      KeptRuns(before(work), slab_lane(work), {from, std::min(to, cached)}, work.runs);
    }
    const int64_t fresh = std::max(from, cached);
    if (fresh < to) NewRuns(format(work), work.rows, {fresh, to}, work.runs);
  }
  tile.run_end = work.runs.size();
  if (rule.compensation == Compensation::kMean) {
    tile.dropped = DroppedTokens(rule, begin);
    tile.token = work.tokens.size();
    const float inverse = 1.0f / static_cast<float>(std::max<int64_t>(tile.dropped, 1));
    for (float sum : work.running) work.tokens.push_back(sum * inverse);
  }
  AddTiles(work, tile, end);
}

void AttentionCpu::AddTiles(LaneWork& work, Tile tile, int64_t end) {
  const int64_t most = std::max(1, cpu::kMaxTileRows / shape_.group);
  const bool few = (end - tile.position) * shape_.group <= kMostCutRows;
  if (few && !work.chunk->scores_attention()) {  // which needs whole rows
    const auto runs = std::span(work.runs).first(tile.run_end);
    const size_t first = work.tiles.size();
    tile.count = static_cast<int>(end - tile.position);
    do {
      tile.run_end = PartEnd(runs, tile.run_begin);
      work.tiles.push_back(tile);
      tile.run_begin = tile.run_end;
      tile.dropped = 0;  // the compensation token belongs to the first part
      ++tile.part;
    } while (tile.run_begin < runs.size());
    for (size_t i = first; i < work.tiles.size(); ++i) work.tiles[i].parts = tile.part;
    return;
  }
  while (tile.position < end) {
    tile.count = static_cast<int>(std::min(most, end - tile.position));
    work.tiles.push_back(tile);
    tile.position += tile.count;
  }
}

cpu::AttentionTile AttentionCpu::KernelTile(const Tile& tile, const float* qkv, float* out) {
  const LaneWork& work = works_[tile.work];
  const int d = shape_.head_dim;
  const int heads = work.layer_heads;
  const int64_t row = work.chunk->first_row + (tile.position - work.chunk->position);
  cpu::AttentionTile kernel;
  kernel.q_stride = int64_t{heads} * (shape_.group + 2) * d;
  kernel.out_stride = int64_t{heads} * shape_.group * d;
  kernel.q = qkv + row * kernel.q_stride + int64_t{work.head} * shape_.group * d;
  kernel.out = out + row * kernel.out_stride + int64_t{work.head} * shape_.group * d;
  if (!lse_.empty()) {
    kernel.lse = &lse_[(int64_t{work.head} * shape_.max_rows + row) * shape_.group];
  }
  kernel.rows = tile.count * shape_.group;
  kernel.group = shape_.group;
  kernel.head_dim = d;
  kernel.key_dims = format(work).keys.dims;
  kernel.value_dims = format(work).values.dims;
  kernel.first_position = tile.position;
  kernel.scale = 1.0f / std::sqrt(static_cast<float>(d));
  kernel.key_plain = format(work).sink_keys().type;
  kernel.value_plain = format(work).sink_values().type;
  kernel.key_codes = format(work).keys.type;
  kernel.value_codes = format(work).values.type;
  kernel.slopes = work.slopes;
  kernel.window = work.window;
  kernel.runs = std::span(work.runs).subspan(tile.run_begin, tile.run_end - tile.run_begin);
  if (tile.dropped > 0) {
    kernel.compensation = {&work.tokens[tile.token], &work.tokens[tile.token + kernel.key_dims],
                           std::log(static_cast<float>(tile.dropped))};
  }
  return kernel;
}

void AttentionCpu::AttendOne(size_t index, const float* qkv, float* out) {
  const Tile& tile = tiles_[index];
  const LaneWork& work = works_[tile.work];
  cpu::AttentionTile kernel = KernelTile(tile, qkv, out);
  if (tile.parts > 1) partial_.Redirect(tile.result, kernel);
  const bool scored = work.chunk->scores_attention() && before(work).rule().full && lse_.empty();
  float lse[cpu::kMaxTileRows];
  if (scored) kernel.lse = lse;
  cpu::AttendTile(kernel);
  if (!scored) return;
  const auto sums = std::span(tile_sums_).subspan(index * shape_.group, shape_.group);
  AddRepeatAttention(kernel, work.chunk->period, work.chunk->first_scored, sums);
  CountCopies(kernel, work.chunk->copies, sums);
}

// After all reads of the lane: the sums and what the window keeps.
void AttentionCpu::Finish(LaneWork& work) {
  const LaneRule& rule = before(work).rule();
  if (rule.full) return;
  SlabCpu& slab = slabs_[work.place.lane_class];
  const bool compensates = rule.compensation == Compensation::kMean;
  float* sums = compensates ? slab.sums(work.tables->slot, work.place.lane) : nullptr;
  if (work.chunk->exact) {
    if (work.chunk->end() < work.tables->prompt_tokens) return;
    const int64_t window_begin = WindowStart(rule, work.chunk->end() - 1);
    if (compensates) {
      FoldDropped(before(work), slab_lane(work), work.rows, {rule.sinks, window_begin}, sums);
    }
  } else if (compensates) {
    std::copy(work.running.begin(), work.running.end(), sums);
  }
  WriteKept(after(work), slab_lane(work), work.rows);
}

}  // namespace headlong
