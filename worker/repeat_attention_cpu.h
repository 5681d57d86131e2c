// How much attention a tile of queries pays to earlier copies of their tokens, where a prompt
// repeats itself (RazorAttention's echo and induction scores). Memory and time O(copies) per row.
#pragma once

#include <cstdint>
#include <span>

#include "worker/kernels/attention_cpu.h"

namespace headlong {

struct RepeatSums {
  double echo = 0;       // softmax weights at m - period, m - 2 period, ...
  double induction = 0;  // at the positions one after those
};

// Adds what the rows from `first_row` on see. `sums`: [group]. REQUIRES: tile.lse holds what
// AttendTile wrote, and the runs hold every key before the rows; period >= 2.
void AddRepeatAttention(const cpu::AttentionTile& tile, int64_t period, int64_t first_row,
                        std::span<RepeatSums> sums);

}  // namespace headlong
