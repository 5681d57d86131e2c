#include "cache/lane_cpu.h"

#include <algorithm>
#include <span>
#include <vector>

#include "cache/check.h"

namespace headlong {
namespace {

using cache_internal::Check;

// Rows of one block's positions, decoded, summed in order, then added to the running sums.
void AddBlock(std::span<const Row> rows, const RowFormat& format, float* sums) {
  constexpr int kMostDims = 256;
  Check(format.dims <= kMostDims, "a row has at most 256 numbers");
  float block[kMostDims] = {}, numbers[kMostDims];
  for (const Row& row : rows) {
    DecodeRow(row.codes, row.scales, format, numbers);
    for (int i = 0; i < format.dims; ++i) block[i] += numbers[i];
  }
  for (int i = 0; i < format.dims; ++i) sums[i] += block[i];
}

// Copies what `after` holds of `range` into its pages: all of it but for pages that belong to other
// workers' stripes.
void WriteRange(const BlockTable& after, const SlabLane& lane, const NewRows& rows,
                PositionRange range) {
  const LaneFormat& format = lane.format();
  const int page_tokens = lane.slab->shape().page_tokens;
  int64_t count;
  for (int64_t at = range.begin; at < range.end; at += count) {
    const int slot = after.SlotOf(at);
    count = std::min<int64_t>(range.end - at, page_tokens - slot);
    if (after.rule().full && !after.Holds(at)) continue;
    const int32_t page = after.PageOf(at);
    const int64_t from = at - rows.begin;
    CopyRows(format.keys, rows.keys.At(format.keys, from), count,
             lane.slab->keys(page, lane.lane).At(format.keys, slot));
    CopyRows(format.values, rows.values.At(format.values, from), count,
             lane.slab->values(page, lane.lane).At(format.values, slot));
  }
}

// Appends a run of `count` rows from row `first` on.
void AddRun(const LaneFormat& format, const Row& keys, const Row& values, int64_t first,
            PositionRange range, std::vector<KeyRun>& runs) {
  const Row key = keys.At(format.keys, first), value = values.At(format.values, first);
  runs.push_back(
      {key.codes, value.codes, range.begin, range.end - range.begin, key.scales, value.scales});
}

// Appends the part of `range` that is kept as plain first tokens and returns what is left of it.
// `first`: position of the first row.
PositionRange AddSinks(const LaneFormat& format, const Row& keys, const Row& values, int64_t first,
                       PositionRange range, std::vector<KeyRun>& runs) {
  const int64_t end = std::min(format.sinks, range.end);
  if (range.begin >= end) return range;
  LaneFormat plain = format;
  plain.keys = format.sink_keys();
  plain.values = format.sink_values();
  AddRun(plain, keys, values, range.begin - first, {range.begin, end}, runs);
  return {end, range.end};
}

}  // namespace

void KeptRuns(const BlockTable& table, const SlabLane& lane, PositionRange range,
              std::vector<KeyRun>& runs) {
  const SlabShape& shape = lane.slab->shape();
  Check(shape.page_tokens == table.rule().page_tokens(), "a class has one page size");
  if (range.begin < std::min(shape.format.sinks, range.end)) {
    // They are with the first page, of a split head in one worker's stripe.
    if (table.Holds(range.begin)) {
      range = AddSinks(shape.format, lane.slab->sink_keys(lane.slot, lane.lane),
                       lane.slab->sink_values(lane.slot, lane.lane), 0, range, runs);
    } else {
      range.begin = std::min(shape.format.sinks, range.end);
    }
  }
  int64_t count;
  for (int64_t at = range.begin; at < range.end; at += count) {
    const int slot = table.SlotOf(at);
    count = std::min<int64_t>(range.end - at, shape.page_tokens - slot);
    if (table.rule().full && !table.Holds(at)) continue;  // another worker's stripe
    const int32_t page = table.PageOf(at);
    // What lies between the sinks and lo reaches to the end of its page: the last row tells.
    Check(table.Holds(at + count - 1), "only kept positions are read");
    AddRun(shape.format, lane.slab->keys(page, lane.lane), lane.slab->values(page, lane.lane), slot,
           {at, at + count}, runs);
  }
}

void NewRuns(const LaneFormat& format, const NewRows& rows, PositionRange range,
             std::vector<KeyRun>& runs) {
  Check(rows.begin <= range.begin && range.end <= rows.end, "a range of the new rows");
  range = AddSinks(format, rows.sink_keys, rows.sink_values, rows.begin, range, runs);
  if (range.begin == range.end) return;
  AddRun(format, rows.keys, rows.values, range.begin - rows.begin, range, runs);
}

void FoldDropped(const BlockTable& before, const SlabLane& lane, const NewRows& rows,
                 PositionRange dropped, float* sums) {
  const auto [from, to] = dropped;
  Check(before.rule().sinks <= from && from <= to, "sinks are never dropped");
  if (from == to) return;
  Check(to <= rows.end, "a position is there before it is dropped");
  // Sums of whole blocks, so that they do not depend on the calls that made them.
  Check(from == before.rule().sinks || from % kBlockTokens == 0, "folding goes on at a border");
  Check(to % kBlockTokens == 0, "whole blocks leave");

  const LaneFormat& format = lane.format();
  Row keys[kBlockTokens], values[kBlockTokens];
  for (int64_t position = from; position < to;) {
    const int64_t block_end = (position / kBlockTokens + 1) * kBlockTokens;
    size_t count = 0;
    for (; position < block_end; ++position, ++count) {
      const bool fresh = position >= rows.begin;
      const int64_t row = fresh ? position - rows.begin : before.SlotOf(position);
      const int32_t page = fresh ? 0 : before.PageOf(position);
      keys[count] = (fresh ? rows.keys : lane.slab->keys(page, lane.lane)).At(format.keys, row);
      values[count] =
          (fresh ? rows.values : lane.slab->values(page, lane.lane)).At(format.values, row);
    }
    AddBlock(std::span(keys, count), format.keys, sums);
    AddBlock(std::span(values, count), format.values, sums + format.keys.dims);
  }
}

void WriteKept(const BlockTable& after, const SlabLane& lane, const NewRows& rows) {
  const LaneFormat& format = lane.format();
  Check(lane.slab->shape().page_tokens == after.rule().page_tokens(), "a class has one page size");
  Check(rows.end <= after.committed(), "rows are written where they are committed");
  if (rows.begin == rows.end) return;
  const int64_t sinks = after.rule().full ? 0 : after.rule().sinks;
  WriteRange(after, lane, rows, {rows.begin, std::min(sinks, rows.end)});
  WriteRange(after, lane, rows, {std::max(rows.begin, after.window_begin()), rows.end});
  const int64_t plain = std::min(format.sinks, rows.end) - rows.begin;
  if (plain <= 0) return;
  CopyRows(format.sink_keys(), rows.sink_keys, plain,
           lane.slab->sink_keys(lane.slot, lane.lane).At(format.sink_keys(), rows.begin));
  CopyRows(format.sink_values(), rows.sink_values, plain,
           lane.slab->sink_values(lane.slot, lane.lane).At(format.sink_values(), rows.begin));
}

}  // namespace headlong
