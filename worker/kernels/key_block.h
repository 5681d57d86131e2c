// What both ways through a tile share (attention_few_rows.cc, attention_panels.cc): the blocks of
// keys they work on, where rows lie, and the end of the softmax. For files built once per
// instruction set.
#pragma once

#include "worker/kernels/attention_tile.h"
#include "worker/kernels/vector.h"

namespace headlong::cpu::HEADLONG_ISA {

using Bytes = const std::byte*;

// Up to kBlockKeys keys, each of which a row sees.
struct KeyBlock {
  int count = 0;
  bool masked = false;         // a row does not see all of them
  int32_t window = 0;          // a row sees the offsets in (its own - window, its own]
  int32_t offset[kBlockKeys];  // position less the tile's first, at least kFarthest
  Bytes key[kBlockKeys + 3] = {};  // rows are fetched four at a time
  Bytes value[kBlockKeys] = {};
};

// Walks through the runs of a tile, leaving out what no row sees.
class KeyReader {
 public:
  KeyReader(const AttentionTile& tile, int block_keys)
      : run_(tile.runs.data()),
        end_(run_ + tile.runs.size()),
        first_position_(tile.first_position),
        last_position_(tile.first_position + (tile.rows - 1) / tile.group),
        window_(tile.window > 0 && tile.window < kNoWindow ? tile.window : kNoWindow),
        row_bytes_(int64_t{tile.head_dim} * ElementBytes(tile.storage)),
        block_keys_(block_keys) {}

  // False when no key is left.
  bool Read(KeyBlock& block) {
    block.count = 0;
    block.masked = false;
    block.window = static_cast<int32_t>(window_);
    while (block.count < block_keys_ && run_ != end_) {
      const int64_t seen = last_position_ + 1 - run_->position;
      const int64_t count = run_->count < seen ? run_->count : seen;
      const int64_t unseen = first_position_ + 1 - window_ - run_->position;
      if (done_ < unseen) done_ = unseen;
      if (done_ >= count) {
        done_ = 0;
        ++run_;
        continue;
      }
      const int64_t room = block_keys_ - block.count;
      Append(count - done_ < room ? count - done_ : room, block);
    }
    return block.count > 0;
  }

 private:
  static constexpr int64_t kNoWindow = int64_t{1} << 30;
  static constexpr int64_t kFarthest = kMaxTileRows - kNoWindow;  // seen by all where no window is

  void Append(int64_t count, KeyBlock& block) {
    const int64_t begin = run_->position + done_ - first_position_;
    Bytes key = run_->keys + done_ * row_bytes_;
    Bytes value = run_->values + done_ * row_bytes_;
    for (int64_t i = 0; i < count; ++i) {
      block.offset[block.count] =
          static_cast<int32_t>(begin + i < kFarthest ? kFarthest : begin + i);
      block.key[block.count] = key + i * row_bytes_;
      block.value[block.count] = value + i * row_bytes_;
      ++block.count;
    }
    block.masked |= begin + count - 1 > 0 || begin <= last_position_ - first_position_ - window_;
    done_ += count;
  }

  const AttentionRun* run_;
  const AttentionRun* const end_;
  const int64_t first_position_;
  const int64_t last_position_;
  const int64_t window_;
  const int64_t row_bytes_;
  const int block_keys_;
  int64_t done_ = 0;  // keys of *run_ already read
};

inline const float* QueryRow(const AttentionTile& tile, int row) {
  return tile.q + row / tile.group * tile.q_stride + int64_t{row % tile.group} * tile.head_dim;
}

inline float* OutRow(const AttentionTile& tile, int row) {
  return tile.out + row / tile.group * tile.out_stride + int64_t{row % tile.group} * tile.head_dim;
}

// What a row's exponents are taken relative to. A row that has seen nothing has max = -inf; 0 then
// keeps exp(-inf - max) at 0 rather than NaN.
template <int W>
inline Float<W> ExponentShift(Float<W> max) {
  return max == -kInfinity ? Float<W>{} : max;
}

inline void StoreLse(const AttentionTile& tile, const TileScratch& scratch) {
  if (tile.lse == nullptr) return;
  for (int r = 0; r < tile.rows; ++r) {
    tile.lse[r] =
        scratch.sum[r] == 0 ? -kInfinity : scratch.max[r] + __builtin_logf(scratch.sum[r]);
  }
}

// REQUIRES: tile.rows <= kFewRows.
void AttendFewRows(const AttentionTile& tile, TileScratch& scratch);
// Any number of rows; wasteful where they do not fill a vector.
void AttendPanels(const AttentionTile& tile, TileScratch& scratch);

}  // namespace headlong::cpu::HEADLONG_ISA
