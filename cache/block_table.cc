#include "cache/block_table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "cache/check.h"

namespace headlong {

using cache_internal::Check;

int64_t BlockTable::pages_held() const {
  return static_cast<int64_t>(sink_pages_.size() + window_pages_.size());
}

int64_t BlockTable::window_begin() const {
  return committed_ == 0 ? 0 : WindowStart(rule_, committed_ - 1);
}

bool BlockTable::Holds(int64_t position) const {
  if (position < 0 || position >= committed_) return false;
  if (rule_.full) return rule_.stripes.Owns(position / rule_.page_tokens());
  return position < rule_.sinks || position >= window_begin();
}

int32_t BlockTable::PageOf(int64_t position) const {
  Check(Holds(position), "only kept positions are looked up");
  auto page = static_cast<size_t>(position / rule_.page_tokens());
  if (rule_.full) page = static_cast<size_t>(rule_.stripes.Owned(static_cast<int64_t>(page)));
  if (page < sink_pages_.size()) return sink_pages_[page];
  return window_pages_[page - static_cast<size_t>(first_window_page_)];
}

BlockTable BlockTable::Fork(BlockPool& pool) const {
  Check(committed_ % rule_.page_tokens() == 0, "a table is shared at a page border");
  for (int32_t page : sink_pages_) pool.AddReference(page);
  for (int32_t page : window_pages_) pool.AddReference(page);
  return *this;
}

absl::StatusOr<BlockTable> BlockTable::Advance(int64_t new_tokens, BlockPool& pool) const {
  Check(new_tokens >= 0, "committed positions stay committed");
  const bool writes_into_last_page = new_tokens > 0 && committed_ % rule_.page_tokens() != 0;
  Check(!writes_into_last_page || !Holds(committed_ - 1) || !pool.shared(PageOf(committed_ - 1)),
        "a shared page is never written");

  const int64_t old_end = first_window_page_ + static_cast<int64_t>(window_pages_.size());
  const HeldPages held = HeldPagesAt(rule_, committed_ + new_tokens);
  const auto missing_sinks = static_cast<size_t>(held.sink_end) - sink_pages_.size();
  const auto missing =
      missing_sinks + static_cast<size_t>(held.end - std::max(held.window_begin, old_end));
  const auto stays_from =
      window_pages_.begin() + (std::min(held.window_begin, old_end) - first_window_page_);

  std::vector<int32_t> reusable;  // this table alone owns them, and the new one does not keep them
  for (auto page = window_pages_.begin(); page != stays_from; ++page) {
    if (!pool.shared(*page)) reusable.push_back(*page);
  }
  const size_t reused = std::min(missing, reusable.size());
  if (missing - reused > static_cast<size_t>(pool.free())) {
    return absl::ResourceExhaustedError(absl::StrCat("cache pages: ", missing - reused,
                                                     " more needed, ", pool.free(), " of ",
                                                     pool.total(), " free"));
  }

  BlockTable next(rule_);
  next.committed_ = committed_ + new_tokens;
  next.first_window_page_ = held.window_begin;
  next.sink_pages_ = sink_pages_;
  next.window_pages_.assign(stays_from, window_pages_.end());
  for (size_t i = 0; i < missing; ++i) {
    auto& pages = i < missing_sinks ? next.sink_pages_ : next.window_pages_;
    pages.push_back(i < reused ? reusable[i] : pool.Allocate());
  }
  for (auto page = window_pages_.begin(); page != stays_from; ++page) {
    if (pool.shared(*page)) pool.Release(*page);
  }
  for (size_t i = reused; i < reusable.size(); ++i) pool.Release(reusable[i]);
  return next;
}

void BlockTable::Release(BlockPool& pool) {
  for (int32_t page : sink_pages_) pool.Release(page);
  for (int32_t page : window_pages_) pool.Release(page);
  *this = BlockTable(rule_);
}

}  // namespace headlong
