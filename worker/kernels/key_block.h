// The blocks of keys that both ways through a tile work on (attention_few_rows.cc,
// attention_panels.cc). For files built once per instruction set.
#pragma once

#include "worker/kernels/attention_tile.h"
#include "worker/kernels/row_loads.h"
#include "worker/kernels/vector.h"

namespace headlong::cpu::HEADLONG_ISA {

// Walks through the runs of a tile, leaving out what no row sees.
class KeyReader {
 public:
  KeyReader(const AttentionTile& tile, int block_keys)
      : tile_(tile),
        run_(tile.runs.data()),
        end_(run_ + tile.runs.size()),
        first_position_(tile.first_position),
        last_position_(tile.first_position + (tile.rows - 1) / tile.group),
        window_(tile.window > 0 && tile.window < kNoWindow ? tile.window : kNoWindow),
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
      const Storage keys = run_->key_scales == nullptr ? tile_.key_plain : tile_.key_codes;
      const Storage values = run_->value_scales == nullptr ? tile_.value_plain : tile_.value_codes;
      if (block.count > 0 && (keys != block.key_type || values != block.value_type)) break;
      block.key_type = keys;
      block.value_type = values;
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
    const int64_t key_bytes = CodeBytes(block.key_type, tile_.key_dims);
    const int64_t value_bytes = CodeBytes(block.value_type, tile_.value_dims);
    Bytes key = run_->keys + done_ * key_bytes;
    Bytes value = run_->values + done_ * value_bytes;
    if (run_->key_scales != nullptr) {
      AppendScales(run_->key_scales, ScalesOf(block.key_type, tile_.key_dims), count,
                   block.key_scales + block.count);
    }
    if (run_->value_scales != nullptr) {
      AppendScales(run_->value_scales, ScalesOf(block.value_type, tile_.value_dims), count,
                   block.value_scales + block.count);
    }
    for (int64_t i = 0; i < count; ++i) {
      block.offset[block.count] =
          static_cast<int32_t>(begin + i < kFarthest ? kFarthest : begin + i);
      block.key[block.count] = key + i * key_bytes;
      block.value[block.count] = value + i * value_bytes;
      ++block.count;
    }
    block.masked |= begin + count - 1 > 0 || begin <= last_position_ - first_position_ - window_;
    done_ += count;
  }

  void AppendScales(const uint16_t* scales, int64_t each, int64_t count,
                    const uint16_t** out) const {
    for (int64_t i = 0; i < count; ++i) out[i] = scales + (done_ + i) * each;
  }

  const AttentionTile& tile_;
  const AttentionRun* run_;
  const AttentionRun* const end_;
  const int64_t first_position_;
  const int64_t last_position_;
  const int64_t window_;
  const int block_keys_;
  int64_t done_ = 0;  // keys of *run_ already read
};

}  // namespace headlong::cpu::HEADLONG_ISA
