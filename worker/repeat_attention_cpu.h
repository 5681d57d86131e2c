// How much attention a tile of queries pays to earlier copies of their tokens, where a prompt
// repeats itself (RazorAttention's echo and induction scores), in O(copies) per row; and which rows
// attend most to where their token is copied from (retrieval heads as of Wu et al. 2024, arXiv
// 2404.15574), in O(tokens) per row that is asked. Twin: repeat_attention_cuda.h.
#pragma once

#include <cstdint>
#include <span>

#include "worker/batch.h"
#include "worker/kernels/attention_cpu.h"

namespace headlong {

struct RepeatSums {
  double echo = 0;       // softmax weights at m - period, m - 2 period, ...
  double induction = 0;  // at the positions one after those
  int64_t copied = 0;    // rows whose largest weight is where it was asked for
};

// Adds what the rows from `first_row` on see. `sums`: [group]. REQUIRES: tile.lse holds what
// AttendTile wrote, and the runs hold every key that the rows see; period is 0, which adds nothing,
// or at least 2.
void AddRepeatAttention(const cpu::AttentionTile& tile, int64_t period, int64_t first_row,
                        std::span<RepeatSums> sums);

// Counts those of `copies` whose row is the tile's and has its largest weight at the position; of
// equal weights the first counts. `sums`: [group]. REQUIRES: as above.
void CountCopies(const cpu::AttentionTile& tile, std::span<const CopiedPosition> copies,
                 std::span<RepeatSums> sums);

}  // namespace headlong
