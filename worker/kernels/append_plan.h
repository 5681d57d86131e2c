// What the GPU kernels of a layer's attention know of the lanes of a batch: where they are (fixed
// in an epoch), and what this step reads, drops and keeps of them (made on the host once a batch,
// the same in every layer). Plain values; pointers are device memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cache/row_format.h"

namespace headlong {

// A RowFormat in numbers. REQUIRES: dims a multiple of 16, so that codes and blocks of 16 scales
// are multiples of 16 bytes.
struct DeviceRows {
  Storage type = Storage::kBfloat16;
  int32_t dims = 0;        // numbers in a row
  int32_t code_bytes = 0;  // of a row
  int32_t scales = 0;      // of a row
};

inline DeviceRows RowsOf(const RowFormat& format) {
  return {format.type, format.dims, static_cast<int32_t>(format.code_bytes()), format.scales()};
}

// The memory of a lane class. Rows as cache/row_format.h says.
struct DeviceClass {
  std::byte* pages = nullptr;  // [page][lane][K|V], each page_tokens rows
  float* sums = nullptr;       // [slot][lane][K|V][dims]; null where it does not compensate
  std::byte* sinks = nullptr;  // [slot][lane][K|V][sink_tokens][dims], plain; null: none
  int64_t page_stride = 0;     // bytes from a page to the next
  int64_t lane_bytes = 0;      // of a page's keys and values of one lane
  int64_t key_bytes = 0;       // of its keys; its values follow
  int32_t lanes = 0;
  int32_t page_shift = 4;  // log2 of page_tokens
  DeviceRows keys, values;
  int64_t sink_bytes = 0;   // of a lane's plain rows in a slot
  int32_t sink_tokens = 0;  // first positions of which plain rows are read
  int32_t launch = 0;       // which launch takes its decode rows: one for each pair of types
  bool plain = true;        // rows are head_dim numbers of the caches' own type
  bool widens = false;      // others, of head_dim numbers: prompts may attend to them widened
  const void* page_map = nullptr;  // for copies of whole pages (copy_map.h); null: none
};

// Where the lanes of a held head are.
struct HeadPlace {
  int32_t lane_class = 0;
  int32_t lane = 0;
};

// Pages of a block table, in an array shared by all: page number n is at begin + n where it holds
// sinks (n < sink_pages), else at begin + sink_pages + n - first_window_page.
struct PageList {
  int32_t begin = 0;
  int32_t sink_pages = 0;
  int32_t first_window_page = 0;
};

// One chunk in one lane class. Where queries see everything, window is kEverything and sinks 0.
struct ChunkLanes {
  PageList read;   // below fresh_begin; what attention of a prompt and the sums read
  PageList write;  // what the step writes, and what a decode row reads
  int32_t first_row = 0, position = 0, end = 0;  // of the batch, [position, end) of the sequence
  int32_t fresh_begin = 0;  // positions from here on are read from the rows of the step
  int32_t fresh_first = 0;  // row of position 0 among those, were it there
  int32_t slot = 0;         // of the sums
  int32_t sinks = 0, window = 0, block_tokens = 16;  // as LaneRule
  int32_t fold_begin = 0, fold_blocks = 0;  // blocks of 16 that leave, the first from fold_begin on
  int32_t token_begin = 0;                  // of fold_blocks + 1 entries of the tokens
  int32_t keep_sinks = 0, keep_begin = 0;   // positions < keep_sinks or >= keep_begin are written
  // Of a lane that is split: page p is this worker's where first_stripe <= p % stripes <
  // first_stripe + own_stripes, and page lists hold owned pages only.
  int32_t stripes = 1, first_stripe = 0, own_stripes = 1;
  bool full = false;   // written before attention, read from pages only
  bool exact = false;  // the rows of the step are those of the whole prompt
  bool compensates = false;
  bool widened = false;  // its prompt rows attend to what WidenLanes makes of the lane
};

inline constexpr int32_t kEverything = 1 << 30;

// Stands in lists where a batch has less to do than they have room for.
inline constexpr int32_t kNoChunk = -1;

// A block of 16 positions of a chunk: the block-th that leaves, or the positions from 16 * block.
struct BlockJob {
  int32_t chunk = 0;  // or kNoChunk
  int32_t block = 0;
};

// Queries of one chunk that one block of threads computes, for each head: as many positions as a
// tile has, from `first` on, counted from the chunk's beginning.
struct PrefillTile {
  int32_t chunk = 0;
  int32_t first = 0;
};

}  // namespace headlong
