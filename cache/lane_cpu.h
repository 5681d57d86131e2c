// What happens to one lane in one step on a CPU: reading what it kept, folding what leaves the
// window into the sums, writing what the window keeps of the new tokens.
//
// Order of use for a lane with new positions [a, b), a = before.committed():
//   full rule:   WriteKept(...); then attention reads KeptRuns(after, 0, b).
//   local rule:  for each group of queries with equal lo(m), in position order:
//                  FoldDropped(...) up to lo(m); attention over [0,S) and [lo(m), m] read from the
//                  cache (positions < a, `before`) and from the step's scratch (>= a), with the
//                  compensation token sums / N_d; after the last group of every lane of the
//                  layer WriteKept(...).
#pragma once

#include <cstdint>
#include <vector>

#include "cache/block_table.h"
#include "cache/key_run.h"
#include "cache/slab_cpu.h"

namespace headlong {

// Keys and values of the step's new tokens for one lane, already rounded to the storage type:
// contiguous rows of head_dim elements, row i is position begin + i.
struct NewRows {
  const std::byte* keys = nullptr;
  const std::byte* values = nullptr;
  int64_t begin = 0;
  int64_t end = 0;
};

// Appends the runs that cover positions [begin, end) of what `table` holds. REQUIRES: every
// position of the range is held, of a full lane: but for other workers' stripes.
void KeptRuns(const BlockTable& table, SlabCpu& slab, int lane, int64_t begin, int64_t end,
              std::vector<KeyRun>& runs);

struct PositionRange {
  int64_t begin = 0;
  int64_t end = 0;
};

// Adds the positions of `dropped` to `sums` (2 x head_dim fp32: keys, then values), block by block
// in position order. Positions below rows.begin are read from the cache through `before`, others
// from `rows`. REQUIRES: S <= dropped.begin.
void FoldDropped(const BlockTable& before, SlabCpu& slab, int lane, const NewRows& rows,
                 PositionRange dropped, float* sums);

// Writes those positions of `rows` that `after` holds.
void WriteKept(const BlockTable& after, SlabCpu& slab, int lane, const NewRows& rows);

}  // namespace headlong
