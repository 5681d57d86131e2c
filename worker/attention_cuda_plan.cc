#include "worker/attention_cuda_plan.h"

#include <algorithm>

namespace headlong {
namespace {

int32_t Int(int64_t x) { return static_cast<int32_t>(x); }

// A decode row reads what the step keeps; a unit of an exact prefill never does.
bool IsDecodeRow(const Chunk& chunk) { return chunk.count == 1 && !chunk.exact; }

PageList AddPages(const BlockTable& table, AttentionStep& step) {
  const HeldPages held = HeldPagesAt(table.rule(), table.committed());
  PageList list;
  list.begin = Int(std::ssize(step.page_ids));
  list.sink_pages = Int(held.sink_end);
  list.first_window_page = Int(held.window_begin);
  const auto sinks = table.sink_pages(), window = table.window_pages();
  step.page_ids.insert(step.page_ids.end(), sinks.begin(), sinks.end());
  step.page_ids.insert(step.page_ids.end(), window.begin(), window.end());
  return list;
}

// [begin, end) leaves, whole blocks but for the first one.
void SetFold(int64_t begin, int64_t end, ChunkLanes& lanes) {
  lanes.fold_begin = Int(begin);
  lanes.fold_blocks = begin < end ? Int(end / kBlockTokens - begin / kBlockTokens) : 0;
}

void SetKeep(const BlockTable& after, ChunkLanes& lanes) {
  lanes.keep_sinks = Int(after.rule().sinks);
  lanes.keep_begin = Int(after.window_begin());
}

ChunkLanes LanesOf(const Chunk& chunk, const SequenceTables& tables, size_t lane_class,
                   AttentionStep& step) {
  const BlockTable& before = tables.before[lane_class];
  const BlockTable& after = tables.after[lane_class];
  const LaneRule& rule = before.rule();
  ChunkLanes lanes;
  lanes.first_row = chunk.first_row;
  lanes.position = Int(chunk.position);
  lanes.end = Int(chunk.end());
  lanes.slot = tables.slot;
  lanes.full = rule.full;
  lanes.stripes = rule.stripes.of;
  lanes.first_stripe = rule.stripes.begin;
  lanes.own_stripes = rule.stripes.count;
  lanes.exact = chunk.exact && !rule.full;
  lanes.fresh_first = lanes.exact ? 0 : lanes.first_row - lanes.position;
  lanes.window = kEverything;
  lanes.keep_begin = kEverything;
  lanes.write = AddPages(after, step);
  if (rule.full) {
    lanes.read = lanes.write;
    lanes.fresh_begin = lanes.end;
  } else if (chunk.exact) {
    if (chunk.end() < tables.prompt_tokens) return lanes;
    lanes.compensates = rule.compensates();
    if (lanes.compensates) SetFold(rule.sinks, WindowStart(rule, chunk.end() - 1), lanes);
    SetKeep(after, lanes);
  } else {
    lanes.read = AddPages(before, step);
    lanes.fresh_begin = lanes.position;
    lanes.sinks = Int(rule.sinks);
    lanes.window = Int(std::min<int64_t>(rule.window, kEverything));
    lanes.block_tokens = Int(rule.block_tokens);
    lanes.compensates = rule.compensates();
    if (lanes.compensates) {
      // The sums hold [S, lo of the last committed query).
      const int64_t folded =
          chunk.position == 0 ? rule.sinks : WindowStart(rule, chunk.position - 1);
      SetFold(folded, WindowStart(rule, chunk.end() - 1), lanes);
    }
    SetKeep(after, lanes);
  }
  return lanes;
}

// The blocks that leave and the sums they make: one list for all classes of a chunk.
void AddFolds(int32_t chunk, std::span<ChunkLanes> classes, bool decode_row, AttentionStep& step) {
  int32_t blocks = 0;
  bool reads = false;  // queries of a prompt read sums, whether these move or not
  for (const ChunkLanes& lanes : classes) {
    blocks = std::max(blocks, lanes.fold_blocks);
    reads = reads || (lanes.compensates && !decode_row && !lanes.exact);
  }
  if (blocks == 0 && !reads) return;
  for (ChunkLanes& lanes : classes) lanes.token_begin = step.tokens;
  step.tokens += blocks + 1;
  step.summed.push_back(chunk);
  for (int32_t block = 0; block < blocks; ++block) step.folds.push_back({chunk, block});
}

void AddKeeps(int32_t chunk, std::span<const ChunkLanes> classes, AttentionStep& step) {
  if (classes.empty()) return;
  const ChunkLanes& any = classes[0];
  int32_t begin = any.position;
  for (const ChunkLanes& lanes : classes) begin = lanes.exact ? 0 : begin;
  for (int32_t block = begin / kBlockTokens; block * kBlockTokens < any.end; ++block) {
    const int32_t first = block * kBlockTokens, last = std::min(first + kBlockTokens, any.end) - 1;
    const bool kept = std::any_of(classes.begin(), classes.end(), [&](const ChunkLanes& lanes) {
      return first < lanes.keep_sinks || last >= lanes.keep_begin;
    });
    if (kept) step.keeps.push_back({chunk, block});
  }
}

void Clear(AttentionStep& step) {
  step.positions.clear();
  step.row_chunks.clear();
  step.page_ids.clear();
  step.lanes.clear();
  step.tiles.clear();
  step.folds.clear();
  step.summed.clear();
  step.keeps.clear();
  step.decode_rows.clear();
  step.decode_tables.clear();
  step.tokens = 0;
}

}  // namespace

void PlanAttention(const Batch& batch, const LaneTables& tables, int tile_positions,
                   AttentionStep& step) {
  Clear(step);
  step.positions.resize(batch.rows());
  step.row_chunks.resize(batch.rows());
  for (size_t i = 0; i < batch.chunks.size(); ++i) {
    const Chunk& chunk = batch.chunks[i];
    const auto index = static_cast<int32_t>(i);
    const SequenceTables& sequence = tables.tables(chunk.sequence_id);
    for (int32_t row = 0; row < chunk.count; ++row) {
      step.positions[chunk.first_row + row] = Int(chunk.position) + row;
      step.row_chunks[chunk.first_row + row] = index;
    }
    const size_t first = step.lanes.size();
    for (size_t c = 0; c < sequence.before.size(); ++c) {
      step.lanes.push_back(LanesOf(chunk, sequence, c, step));
    }
    const auto classes = std::span(step.lanes).subspan(first);
    AddFolds(index, classes, IsDecodeRow(chunk), step);
    AddKeeps(index, classes, step);
    if (IsDecodeRow(chunk)) {
      step.decode_rows.push_back(index);
      step.decode_tables.push_back(&sequence);
      continue;
    }
    for (int32_t begin = 0; begin < chunk.count; begin += tile_positions) {
      step.tiles.push_back({index, begin});
    }
  }
  std::stable_sort(step.tiles.begin(), step.tiles.end(), [&](PrefillTile a, PrefillTile b) {
    return batch.chunks[a.chunk].position + a.first > batch.chunks[b.chunk].position + b.first;
  });
}

namespace {

// The first position that queries of the chunk see in the lane, in whole blocks; what sinks a gap
// parts from it is not counted.
int32_t VisibleBegin(const ChunkLanes& lanes) {
  const int32_t lo = (lanes.position + 1 - lanes.window) / lanes.block_tokens * lanes.block_tokens;
  return lo > lanes.sinks ? lo / kBlockTokens * kBlockTokens : 0;
}

// The lane as LaunchWiden leaves it: rows of the step from `begin` on. Sinks before those are the
// plain rows of the lane's slot, which stand for a page.
ChunkLanes Widened(const ChunkLanes& lanes, int32_t begin, int32_t row, AttentionStep& step) {
  ChunkLanes widened = lanes;
  widened.widened = true;
  widened.full = widened.exact = false;
  widened.fresh_begin = begin;
  widened.fresh_first = row - begin;
  widened.read = {Int(std::ssize(step.page_ids)), 1, 0};
  step.page_ids.push_back(lanes.slot);
  return widened;
}

}  // namespace

void PlanWidening(std::span<const DeviceClass> classes, const WideningLimits& limits,
                  AttentionStep& step) {
  step.widened.clear();
  step.widened_rows = 0;
  const bool any = std::ranges::any_of(classes, [](const DeviceClass& c) { return c.widens; });
  if (!any || step.tiles.empty()) return;
  step.widened.resize(step.lanes.size());
  std::vector<int64_t>& taken = step.widened_taken;
  taken.assign(classes.size(), 0);
  for (size_t i = 0; i < step.lanes.size(); ++i) {
    const size_t c = i % classes.size();
    ChunkLanes& lanes = step.lanes[i];
    if (!classes[c].widens || lanes.stripes > 1) continue;
    if (lanes.end - lanes.position < limits.positions) continue;
    if (lanes.sinks > 1 << WideningLimits::kSinkPageShift) continue;
    const int32_t begin = VisibleBegin(lanes), rows = lanes.end - begin;
    if (taken[c] + rows > limits.rows) continue;
    step.widened[i] = Widened(lanes, begin, Int(taken[c]), step);
    lanes.widened = true;
    taken[c] += rows;
    step.widened_rows = std::max(step.widened_rows, rows);
  }
}

bool PadDecodeStep(int rows, int block_tokens, AttentionStep& step) {
  const size_t count = rows, folds = count * (block_tokens / kBlockTokens);
  if (step.folds.size() > folds || step.keeps.size() > count) return false;
  const size_t classes = step.lanes.size() / std::max<size_t>(step.positions.size(), 1);
  step.positions.resize(count, 0);
  step.row_chunks.resize(count, kNoChunk);
  step.lanes.resize(count * classes);
  if (!step.keeps.empty()) step.keeps.resize(count, {kNoChunk, 0});
  if (step.folds.empty()) return true;  // most steps: nothing leaves
  step.folds.resize(folds, {kNoChunk, 0});
  step.summed.resize(count, kNoChunk);
  return true;
}

int64_t MaxBlockJobs(const StepLimits& limits) {
  // Blocks that a chunk of n rows touches, or that leave meanwhile: at most n / 16 and, at the
  // ends, what a step of the window's start and two blocks cut through add.
  const int64_t per_chunk = limits.block_tokens / kBlockTokens + 3;
  return std::max(limits.rows / kBlockTokens + limits.chunks * per_chunk,
                  limits.prompt_tokens / kBlockTokens + per_chunk);
}

int64_t MaxTokens(const StepLimits& limits) { return MaxBlockJobs(limits) + limits.chunks; }

int64_t SumFloats(const DeviceClass& lane_class) {
  return int64_t{lane_class.keys.dims} + lane_class.values.dims;
}

void SetFormat(const LaneFormat& format, int head_dim, DeviceClass& lane_class) {
  lane_class.keys = RowsOf(format.keys);
  lane_class.values = RowsOf(format.values);
  lane_class.sink_tokens = Int(format.sinks);
  lane_class.plain = format == PlainFormat(format.own, head_dim);
  lane_class.key_bytes = format.keys.bytes() << lane_class.page_shift;
  lane_class.lane_bytes = format.token_bytes() << lane_class.page_shift;
  lane_class.sink_bytes = format.sink_bytes();
}

int HeadsOf(const LayerHeads& heads, int launch) {
  return static_cast<int>(std::ranges::count_if(heads.places, [&](const HeadPlace& place) {
    return heads.classes[place.lane_class].launch == launch;
  }));
}

void DecodeLanes(const AttentionStep& step, const LayerHeads& heads, int launch,
                 const int32_t* page_ids, std::vector<DecodeLane>& lanes) {
  lanes.clear();
  const auto held = static_cast<int32_t>(heads.places.size());
  for (size_t i = 0; i < step.decode_rows.size(); ++i) {
    const size_t first = step.decode_rows[i] * heads.classes.size();
    for (int32_t head = 0; head < held; ++head) {
      const HeadPlace place = heads.places[head];
      const DeviceClass& lane_class = heads.classes[place.lane_class];
      if (lane_class.launch != launch) continue;
      const ChunkLanes& chunk = step.lanes[first + place.lane_class];
      DecodeLane lane;
      lane.pages = lane_class.pages + place.lane * lane_class.lane_bytes;
      const int64_t slot_lane = int64_t{chunk.slot} * lane_class.lanes + place.lane;
      lane.page_ids = page_ids + chunk.write.begin;
      if (lane_class.sums != nullptr) {
        lane.dropped_sums = lane_class.sums + slot_lane * SumFloats(lane_class);
      }
      lane.page_stride = lane_class.page_stride;
      const LaneRule& rule = step.decode_tables[i]->after[place.lane_class].rule();
      SetKept(rule, chunk.end, lane);
      lane.key_dims = static_cast<int16_t>(lane_class.keys.dims);
      lane.value_dims = static_cast<int16_t>(lane_class.values.dims);
      if (lane_class.sink_tokens > 0) {
        lane.sinks = lane_class.sinks + slot_lane * lane_class.sink_bytes;
        SetSinks(rule, chunk.end, lane_class.sink_tokens, lane);
      }
      if (heads.window > 0) BoundByWindow(chunk.end, heads.window, lane, rule.stripes);
      lane.query = (chunk.first_row * held + head) * heads.group;
      lanes.push_back(lane);
    }
  }
}

std::vector<LaneShift> LaneShifts(const LayerHeads& from, const LayerHeads& to) {
  std::vector<LaneShift> shifts;
  for (size_t head = 0; head < to.places.size(); ++head) {
    const int64_t lanes = to.places[head].lane - from.places[head].lane;
    const DeviceClass& lane_class = to.classes[to.places[head].lane_class];
    shifts.push_back({lanes * lane_class.lane_bytes, lanes * SumFloats(lane_class),
                      lanes * lane_class.sink_bytes});
  }
  return shifts;
}

}  // namespace headlong
