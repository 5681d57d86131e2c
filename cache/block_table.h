// The pages of one sequence in one lane class, by position. A value whose pages are owned: moving a
// sequence on is Advance, sharing its pages is Fork, ending it is Release. Pure; page ids come from
// a BlockPool; one owner thread.
//
// A step over positions [committed, committed + n) reads through the table as it is and writes
// through the table that Advance returns, which takes its place: pages that the window leaves are
// reused for the new blocks, so that a step never needs more pages than max(before, after). That is
// safe because in every layer the local lanes of all sequences are read to the end before the first
// of them is written; pages that leave and are not reused may become another sequence's at once.
// Invariant: a page with more than one owner is never written; a new one takes its place.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/block_pool.h"
#include "cache/policy.h"

namespace headlong {

class BlockTable {
 public:
  explicit BlockTable(const LaneRule& rule) : rule_(rule) {}

  const LaneRule& rule() const { return rule_; }
  int64_t committed() const { return committed_; }
  int64_t pages_held() const;  // PagesHeld(rule(), committed())

  // True where `position` is kept in a page of this table: position < S or >= window_begin(); of a
  // full lane, where its page belongs to an owned stripe.
  bool Holds(int64_t position) const;
  // First position of the window that is kept: lo(committed - 1); 0 when nothing is committed.
  int64_t window_begin() const;
  // REQUIRES: Holds(position). Page and slot inside it.
  int32_t PageOf(int64_t position) const;
  // Pages in the order of HeldPagesAt(rule(), committed()).
  std::span<const int32_t> sink_pages() const { return sink_pages_; }
  std::span<const int32_t> window_pages() const { return window_pages_; }
  int SlotOf(int64_t position) const { return static_cast<int>(position % rule_.page_tokens()); }

  // The table once `new_tokens` more positions are committed. Pages that leave are reused or
  // released, missing ones are allocated. RESOURCE_EXHAUSTED (and the pool unchanged) when the pool
  // has too few.
  absl::StatusOr<BlockTable> Advance(int64_t new_tokens, BlockPool& pool) const;

  // A second owner of the same pages, for a sequence that goes on differently from here. The lane's
  // sums are the caller's to copy. REQUIRES: committed() is a multiple of page_tokens().
  BlockTable Fork(BlockPool& pool) const;

  // Gives every page back. The table is empty afterwards.
  void Release(BlockPool& pool);

 private:
  LaneRule rule_;
  int64_t committed_ = 0;
  std::vector<int32_t> sink_pages_;  // page numbers [0, sink_pages_.size())
  int64_t first_window_page_ = 0;    // page number of window_pages_[0], as in HeldPages
  std::vector<int32_t> window_pages_;
};

}  // namespace headlong
