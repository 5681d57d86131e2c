// Where a lane's rows are, on the device.
#pragma once

#include "worker/kernels/lane_positions.cuh"

namespace headlong::cuda {

// One row, and how its numbers are stored.
struct RowPlace {
  std::byte *codes, *scales;
};

struct ConstRow {
  const std::byte *codes, *scales;

  __device__ ConstRow(const std::byte* the_codes, const std::byte* the_scales)
      : codes(the_codes), scales(the_scales) {}
  __device__ ConstRow(const RowPlace& row) : codes(row.codes), scales(row.scales) {}
};

__device__ inline int64_t RowBytes(const DeviceRows& rows) {
  return rows.code_bytes + 2 * rows.scales;
}

// Of `count` rows in one piece of memory.
__device__ inline RowPlace RowIn(std::byte* memory, const DeviceRows& rows, int64_t count,
                                 int64_t row) {
  return {memory + row * rows.code_bytes,
          memory + count * rows.code_bytes + row * (2 * rows.scales)};
}

__device__ inline ConstRow RowAt(const std::byte* memory, const DeviceRows& rows, int64_t count,
                                 int64_t row) {
  return RowIn(const_cast<std::byte*>(memory), rows, count, row);
}

// One head's lane in one chunk.
struct Lane {
  const ChunkLanes& chunk;
  const DeviceClass& lane_class;
  std::byte* pages;        // its part of page 0
  std::byte* sinks;        // its plain rows, of the chunk's slot
  std::byte* fresh;        // its rows of the step: [K|V|plain K|plain V][capacity]
  int64_t fresh_first;     // row of position 0, were that among them
  int64_t fresh_capacity;  // a multiple of 8
  const int32_t* page_ids;
  int own_bytes;           // of a number of the caches' own type
  int fresh_head, number;  // its head among the rows of the step, and it in its class
  const void* fresh_map;   // of the rows of the step (copy_map.h), or null

  __device__ const DeviceRows& Rows(bool value) const {
    return value ? lane_class.values : lane_class.keys;
  }
  // The lane's part of the page that holds a position.
  __device__ std::byte* Page(const PageList& list, int position) const {
    int number = position >> lane_class.page_shift;
    if (chunk.stripes > 1) number = OwnedPages(chunk, number);
    const int place =
        number < list.sink_pages ? number : number - list.first_window_page + list.sink_pages;
    return pages + page_ids[list.begin + place] * lane_class.page_stride;
  }
  __device__ RowPlace InPage(bool value, const PageList& list, int position) const {
    const int row = position & ((1 << lane_class.page_shift) - 1);
    return RowIn(Page(list, position) + (value ? lane_class.key_bytes : 0), Rows(value),
                 1 << lane_class.page_shift, row);
  }
  __device__ bool Owns(int position) const {
    return chunk.stripes == 1 || OwnsPage(chunk, position >> lane_class.page_shift);
  }
  __device__ RowPlace Fresh(bool value, int position) const {
    std::byte* const rows = fresh + (value ? fresh_capacity * RowBytes(lane_class.keys) : 0);
    return RowIn(rows, Rows(value), fresh_capacity, fresh_first + position);
  }
  // Plain rows of first tokens: kept, and of the step.
  __device__ std::byte* Sink(bool value, int position) const {
    const int64_t row = int64_t{Rows(value).dims} * own_bytes;
    const int64_t keys = int64_t{lane_class.sink_tokens} * lane_class.keys.dims * own_bytes;
    return sinks + (value ? keys : 0) + position * row;
  }
  __device__ std::byte* FreshSink(bool value, int position) const {
    const int64_t row = int64_t{Rows(value).dims} * own_bytes;
    const int64_t coded = RowBytes(lane_class.keys) + RowBytes(lane_class.values);
    const int64_t before = coded + (value ? int64_t{lane_class.keys.dims} * own_bytes : 0);
    return fresh + fresh_capacity * before + (fresh_first + position) * row;
  }
  __device__ bool IsSink(int position) const { return position < lane_class.sink_tokens; }
};

__device__ inline Lane LaneOf(const LayerLanes& lanes, int chunk_index, int head) {
  const HeadPlace place = lanes.places[head];
  const ChunkLanes& chunk = lanes.chunks[chunk_index * lanes.class_count + place.lane_class];
  const DeviceClass& lane_class = lanes.classes[place.lane_class];
  const FreshRows& fresh = chunk.exact ? lanes.prompt : lanes.batch;
  return {.chunk = chunk,
          .lane_class = lane_class,
          .pages = lane_class.pages + place.lane * lane_class.lane_bytes,
          .sinks = lane_class.sinks +
                   (int64_t{chunk.slot} * lane_class.lanes + place.lane) * lane_class.sink_bytes,
          .fresh = fresh.memory + (head - fresh.first_head) * fresh.head_bytes,
          .fresh_first = chunk.fresh_first,
          .fresh_capacity = fresh.capacity,
          .page_ids = lanes.page_ids,
          .own_bytes = lanes.shape.type == ElementType::kFloat32 ? 4 : 2,
          .fresh_head = head - fresh.first_head,
          .number = place.lane,
          .fresh_map = fresh.map};
}

// Sums of a chunk's lane after its first `blocks` blocks have left: of keys, then of values, in
// room for head_dim of both.
__device__ inline float* TokenOf(const LayerLanes& lanes, const ChunkLanes& chunk, int head,
                                 int blocks) {
  const int64_t entry = int64_t{head} * lanes.token_capacity + chunk.token_begin + blocks;
  return lanes.tokens + entry * 2 * lanes.shape.head_dim;
}

}  // namespace headlong::cuda
