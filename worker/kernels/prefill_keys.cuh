// The keys that a tile of query rows walks, for the prefill kernels of 16-bit caches.
#pragma once

#include "worker/kernels/prefill_tile.cuh"

namespace headlong::cuda {

// What one query sees of a KeyRange, in its numbers.
struct SeenKeys {
  int begin, end;
  int sinks_begin, sinks_end;  // before those, if anything between is hidden
};

// Keys of a KeyRange that the copy engine can bring, 64 rows at a time (copy_map.h).
struct BulkKeys {
  const void* map;  // null: none
  bool pages;       // in pages of 64; else rows of the step
  int begin, end;

  __device__ bool Has(int first, int count) const { return first >= begin && first + count <= end; }
};

// The keys that some row of a tile sees, numbered from 0: blocks of 16 with sinks, then those of
// the window. Of a lane that is split the keys are those of this worker's pages.
struct KeyRange {
  const ChunkLanes& chunk;
  static constexpr int kPageShift = 6;  // of lanes that are split: they are full ones
  const bool split;

  int sink_end;            // keys [sink_end, sink_blocks) are dead
  int sink_blocks;         // in keys, a multiple of 16
  int shift;               // from a key of the window to its position
  int end;                 // keys in all
  int stored;              // keys of which there are rows: at least those
  int full_from, full_to;  // keys in [from, to) are seen by every row

  __device__ KeyRange(const ChunkLanes& the_chunk, const Queries& queries, int model_window)
      : chunk(the_chunk), split(the_chunk.stripes > 1) {
    const int lo = WindowBegin(chunk, queries.first);
    const bool gap = lo > chunk.sinks;
    const int bound = model_window > 0 ? queries.first + 1 - model_window : 0;
    const int begin = max(gap ? lo : 0, bound) / kBlockRows * kBlockRows;
    sink_end = gap ? chunk.sinks : 0;
    sink_blocks = (sink_end + kBlockRows - 1) / kBlockRows * kBlockRows;
    shift = begin - sink_blocks;
    const int last = queries.last();
    end = last + 1 - shift;
    stored = chunk.end - shift;
    const int last_bound = model_window > 0 ? last + 1 - model_window : 0;
    const int last_lo = WindowBegin(chunk, last);
    full_from = max(last_lo > chunk.sinks ? max(last_lo, last_bound) : last_bound, begin) - shift;
    full_to = queries.first + 1 - shift;
    if (!split) return;
    shift = OwnedPages(chunk, max(bound, 0) >> kPageShift) << kPageShift;
    end = OwnedKeys(chunk, last + 1, kPageShift) - shift;
    stored = OwnedKeys(chunk, chunk.end, kPageShift) - shift;
    full_from = OwnedKeys(chunk, max(last_bound, 0), kPageShift) - shift;
    full_to = OwnedKeys(chunk, queries.first + 1, kPageShift) - shift;
  }
  __device__ int Position(int key) const {
    if (split) return OwnedPosition(chunk, key + shift, kPageShift);
    return key < sink_blocks ? key : key + shift;
  }
  __device__ SeenKeys Seen(int m, int model_window) const {
    const int bound = model_window > 0 ? max(m + 1 - model_window, 0) : 0;
    if (split) {
      return {OwnedKeys(chunk, bound, kPageShift) - shift,
              OwnedKeys(chunk, m + 1, kPageShift) - shift, 0, 0};
    }
    const int lo = WindowBegin(chunk, m);
    if (lo <= chunk.sinks) return {bound - shift, m + 1 - shift, 0, 0};
    const int sink_shift = sink_blocks > 0 ? 0 : shift;
    return {max(lo, bound) - shift, m + 1 - shift, bound - sink_shift, chunk.sinks - sink_shift};
  }
  __device__ bool Live(int key) const {
    return key < sink_end || (key >= sink_blocks && key < end);
  }
  __device__ BulkKeys Bulk(const Lane& lane) const {
    if (chunk.full) {
      const void* const map = lane.lane_class.page_map;
      return {map, true, 0, map == nullptr || shift % (1 << kPageShift) != 0 ? 0 : stored};
    }
    return {lane.fresh_map, false, max(sink_blocks, chunk.fresh_begin - shift),
            lane.fresh_map == nullptr ? 0 : stored};
  }
  // Where the 16 keys from `key` on are, if they are in a page: the first one of rows of so many
  // bytes, or with 0 of those the lane's part of the page.
  template <int kRowBytes>
  __device__ const std::byte* Block(const Lane& lane, int key) const {
    const int p = Position(key);
    if (key >= end || p >= lane.chunk.fresh_begin) return nullptr;
    const int row = p & ((1 << lane.lane_class.page_shift) - 1);
    return lane.Page(lane.chunk.read, p) + row * kRowBytes;
  }
};

// Looks up pages; what it needs of the lane stays in registers.
struct PageFinder {
  const KeyRange& range;
  const int32_t* ids;
  int sink_pages, skipped, shift, fresh_begin;  // pages of the window follow the sinks'

  __device__ PageFinder(const Lane& lane, const KeyRange& the_range)
      : range(the_range),
        ids(lane.page_ids + lane.chunk.read.begin),
        sink_pages(lane.chunk.read.sink_pages),
        skipped(lane.chunk.read.first_window_page - lane.chunk.read.sink_pages),
        shift(lane.lane_class.page_shift),
        fresh_begin(lane.chunk.fresh_begin) {}

  // Of the 16 keys from `key` on; 0 if they are in none.
  __device__ int Find(int key) const {
    const int p = range.Position(key);
    if (key >= range.stored || p >= fresh_begin) return 0;
    const int number = range.split ? (key + range.shift) >> shift : p >> shift;
    return ids[number < sink_pages ? number : number - skipped];
  }
};

}  // namespace headlong::cuda
