#include "cache/lane_cpu.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "cache/check.h"

namespace headlong {
namespace {

using cache_internal::Check;

int64_t RowBytes(const SlabCpu& slab) {
  return int64_t{slab.shape().head_dim} * ElementBytes(slab.shape().storage);
}

// Rows of at most one block: what is summed before it is added to the running sums.
struct BlockRows {
  std::array<const std::byte*, kBlockTokens> keys;
  std::array<const std::byte*, kBlockTokens> values;
  size_t count = 0;
};

// sums[j] += (rows[0][j] + rows[1][j] + ...), in this order, in fp32.
template <typename Element>
void AddBlock(std::span<const std::byte* const> rows, int head_dim, float* sums) {
  constexpr int kTile = 64;
  for (int begin = 0; begin < head_dim; begin += kTile) {
    const int width = std::min(kTile, head_dim - begin);
    float block[kTile] = {};
    for (const std::byte* row : rows) {
      const Element* elements = reinterpret_cast<const Element*>(row) + begin;
      for (int j = 0; j < width; ++j) block[j] += ToFloat(elements[j]);
    }
    for (int j = 0; j < width; ++j) sums[begin + j] += block[j];
  }
}

template <typename Element>
void AddBlock(const BlockRows& rows, int head_dim, float* sums) {
  AddBlock<Element>(std::span(rows.keys).first(rows.count), head_dim, sums);
  AddBlock<Element>(std::span(rows.values).first(rows.count), head_dim, sums + head_dim);
}

// Copies what `after` holds of [begin, end) of `rows` into its pages: all of it but for pages that
// belong to other workers' stripes.
void WriteRange(const BlockTable& after, SlabCpu& slab, int lane, const NewRows& rows,
                int64_t begin, int64_t end) {
  const int page_tokens = slab.shape().page_tokens;
  const int64_t row_bytes = RowBytes(slab);
  for (int64_t count; begin < end; begin += count) {
    const int slot = after.SlotOf(begin);
    count = std::min<int64_t>(end - begin, page_tokens - slot);
    if (after.rule().full && !after.Holds(begin)) continue;
    const int32_t page = after.PageOf(begin);
    const int64_t source = (begin - rows.begin) * row_bytes;
    const int64_t target = slot * row_bytes;
    std::memcpy(slab.keys(page, lane) + target, rows.keys + source, count * row_bytes);
    std::memcpy(slab.values(page, lane) + target, rows.values + source, count * row_bytes);
  }
}

}  // namespace

void KeptRuns(const BlockTable& table, SlabCpu& slab, int lane, int64_t begin, int64_t end,
              std::vector<KeyRun>& runs) {
  Check(slab.shape().page_tokens == table.rule().page_tokens(), "a class has one page size");
  const int64_t row_bytes = RowBytes(slab);
  for (int64_t count; begin < end; begin += count) {
    const int slot = table.SlotOf(begin);
    count = std::min<int64_t>(end - begin, slab.shape().page_tokens - slot);
    if (table.rule().full && !table.Holds(begin)) continue;  // another worker's stripe
    const int32_t page = table.PageOf(begin);
    // What lies between the sinks and lo reaches to the end of its page: the last row tells.
    Check(table.Holds(begin + count - 1), "only kept positions are read");
    runs.push_back({.keys = slab.keys(page, lane) + slot * row_bytes,
                    .values = slab.values(page, lane) + slot * row_bytes,
                    .position = begin,
                    .count = count});
  }
}

void FoldDropped(const BlockTable& before, SlabCpu& slab, int lane, const NewRows& rows,
                 PositionRange dropped, float* sums) {
  const auto [from, to] = dropped;
  Check(before.rule().sinks <= from && from <= to, "sinks are never dropped");
  if (from == to) return;
  Check(to <= rows.end, "a position is there before it is dropped");
  // Sums of whole blocks, so that they do not depend on the calls that made them.
  Check(from == before.rule().sinks || from % kBlockTokens == 0, "folding goes on at a border");
  Check(to % kBlockTokens == 0, "whole blocks leave");

  const int64_t row_bytes = RowBytes(slab);
  const int head_dim = slab.shape().head_dim;
  for (int64_t position = from; position < to;) {
    const int64_t block_end = (position / kBlockTokens + 1) * kBlockTokens;
    BlockRows block;
    for (; position < block_end; ++position, ++block.count) {
      if (position >= rows.begin) {
        block.keys[block.count] = rows.keys + (position - rows.begin) * row_bytes;
        block.values[block.count] = rows.values + (position - rows.begin) * row_bytes;
      } else {
        const int32_t page = before.PageOf(position);
        const int64_t offset = before.SlotOf(position) * row_bytes;
        block.keys[block.count] = slab.keys(page, lane) + offset;
        block.values[block.count] = slab.values(page, lane) + offset;
      }
    }
    if (slab.shape().storage == Storage::kFloat32) {
      AddBlock<float>(block, head_dim, sums);
    } else {
      AddBlock<Bfloat16>(block, head_dim, sums);
    }
  }
}

void WriteKept(const BlockTable& after, SlabCpu& slab, int lane, const NewRows& rows) {
  Check(slab.shape().page_tokens == after.rule().page_tokens(), "a class has one page size");
  Check(rows.end <= after.committed(), "rows are written where they are committed");
  if (rows.begin == rows.end) return;
  const int64_t sinks = after.rule().full ? 0 : after.rule().sinks;
  WriteRange(after, slab, lane, rows, rows.begin, std::min(sinks, rows.end));
  WriteRange(after, slab, lane, rows, std::max(rows.begin, after.window_begin()), rows.end);
}

}  // namespace headlong
