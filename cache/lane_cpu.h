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

// One sequence's lane in a slab.
struct SlabLane {
  SlabCpu* slab = nullptr;
  int lane = 0;
  int slot = 0;  // of the sequence

  const LaneFormat& format() const { return slab->shape().format; }
};

// Keys and values of the step's new tokens for one lane, already rounded to the lane's format: row
// i is position begin + i. Where first tokens stay plain, their rows stand apart, counted alike.
struct NewRows {
  Row keys = {};
  Row values = {};
  Row sink_keys = {};
  Row sink_values = {};
  int64_t begin = 0;
  int64_t end = 0;
};

struct PositionRange {
  int64_t begin = 0;
  int64_t end = 0;
};

// Appends the runs that cover `range` of what `table` holds. REQUIRES: every position of the range
// is held, of a full lane: but for other workers' stripes.
void KeptRuns(const BlockTable& table, const SlabLane& lane, PositionRange range,
              std::vector<KeyRun>& runs);

// The same of new rows. REQUIRES: the range lies within them.
void NewRuns(const LaneFormat& format, const NewRows& rows, PositionRange range,
             std::vector<KeyRun>& runs);

// Adds the positions of `dropped` to `sums` (fp32: keys, then values), block by block in position
// order. Positions below rows.begin are read from the cache through `before`, others from `rows`.
// REQUIRES: S <= dropped.begin.
void FoldDropped(const BlockTable& before, const SlabLane& lane, const NewRows& rows,
                 PositionRange dropped, float* sums);

// Writes those positions of `rows` that `after` holds.
void WriteKept(const BlockTable& after, const SlabLane& lane, const NewRows& rows);

}  // namespace headlong
