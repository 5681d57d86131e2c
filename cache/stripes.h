// Stripes of a retrieval lane: page p of the lane belongs to stripe p mod `of`, and a worker owns
// the stripes [begin, begin + count). Owned pages are numbered 0, 1, 2, ... in the order of their
// positions. Pure.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>

namespace headlong {

inline constexpr int kMaxStripes = 1024;

struct StripeRange {
  int of = 1;
  int begin = 0;
  int count = 1;  // 1 .. of - begin

  bool whole() const { return count == of; }
  bool Owns(int64_t page) const {
    const int64_t stripe = page % of;
    return begin <= stripe && stripe < begin + count;
  }
  // How many of the lane's pages [0, pages) are owned. Of an owned page p that is its own number.
  int64_t Owned(int64_t pages) const {
    return pages / of * count + std::clamp<int64_t>(pages % of - begin, 0, count);
  }
  // The lane's page that is owned page number `owned`.
  int64_t PageAt(int64_t owned) const { return owned / count * of + begin + owned % count; }

  friend auto operator<=>(const StripeRange&, const StripeRange&) = default;
};

}  // namespace headlong
