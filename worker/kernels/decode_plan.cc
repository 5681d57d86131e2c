#include "worker/kernels/decode_plan.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace headlong {
namespace {

// What an item costs besides its tiles: the start and the end of its softmax, in tiles.
constexpr int32_t kItemTiles = 2;

int32_t Tiles(int32_t slots) { return (slots + kDecodeTile - 1) / kDecodeTile; }

// Least loaded CTA first; ties to the lowest number.
struct LeastLoaded {
  const std::vector<int32_t>& load;
  bool operator()(int32_t a, int32_t b) const {
    return load[a] != load[b] ? load[a] > load[b] : a > b;
  }
};

// Lanes of at most so many slots stay whole: fewer than kWholeLaneSlots where there is so little to
// do that such a lane would end last, after the merge of the long ones.
int32_t WholeSlots(std::span<const DecodeLane> lanes, int ctas) {
  int64_t tiles = 0;
  bool any_long = false;
  for (const DecodeLane& lane : lanes) {
    tiles += Tiles(lane.slots);
    any_long = any_long || lane.slots > kWholeLaneSlots;
  }
  if (!any_long) return kWholeLaneSlots;
  const int64_t even_tiles = std::max<int64_t>(tiles / ctas, 2);
  return static_cast<int32_t>(std::min<int64_t>(kWholeLaneSlots, even_tiles * kDecodeTile));
}

void PlaceWhole(std::span<const DecodeLane> lanes, std::span<int32_t> whole, DecodePlan& plan) {
  std::stable_sort(whole.begin(), whole.end(), [&](int32_t a, int32_t b) {
    return Tiles(lanes[a].slots) > Tiles(lanes[b].slots);
  });
  std::vector<int32_t>& heap = plan.cta_items;  // its place until the items are known
  heap.resize(plan.load.size());
  std::iota(heap.begin(), heap.end(), 0);
  for (const int32_t lane : whole) {
    std::pop_heap(heap.begin(), heap.end(), LeastLoaded{plan.load});
    const int32_t cta = heap.back();
    plan.by_cta[cta].push_back({lanes[lane], 0, lanes[lane].slots, -1, 0});
    plan.load[cta] += Tiles(lanes[lane].slots) + kItemTiles;
    std::push_heap(heap.begin(), heap.end(), LeastLoaded{plan.load});
  }
}

// Turns `load` into what each CTA may still take so that all end alike: max(0, level - load), with
// the sum equal to `tiles`.
void ShareOut(int64_t tiles, std::vector<int32_t>& load) {
  const int64_t ctas = static_cast<int64_t>(load.size());
  const int32_t peak = *std::max_element(load.begin(), load.end());
  int64_t low = 0, high = peak + tiles / ctas + 1;
  const auto room = [&](int64_t level) {
    int64_t sum = 0;
    for (const int32_t l : load) sum += std::max<int64_t>(0, level - l);
    return sum;
  };
  while (low < high) {  // the least level with room for all
    const int64_t middle = (low + high) / 2;
    if (room(middle) >= tiles) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  int64_t excess = room(low) - tiles;  // below the number of CTAs that take any
  for (int32_t& l : load) {
    l = static_cast<int32_t>(std::max<int64_t>(0, low - l));
    if (l > 0 && excess > 0) {
      --l;
      --excess;
    }
  }
}

void CutLong(std::span<const DecodeLane> lanes, std::span<const int32_t> longs, DecodePlan& plan) {
  size_t cta = 0;
  for (const int32_t index : longs) {
    const DecodeLane& lane = lanes[index];
    const int32_t first = plan.parts;
    for (int32_t begin = 0; begin < lane.slots;) {
      while (plan.load[cta] == 0) ++cta;
      const int32_t tiles = std::min(plan.load[cta], Tiles(lane.slots - begin));
      const int32_t end = std::min(lane.slots, begin + tiles * kDecodeTile);
      const bool whole = begin == 0 && end == lane.slots;
      plan.by_cta[cta].push_back({lane, begin, end, whole ? -1 : plan.parts++, 0});
      plan.load[cta] -= tiles;
      begin = end;
    }
    if (plan.parts > first) plan.merges.push_back({lane.query, first, plan.parts - first});
  }
}

}  // namespace

void PlanDecode(std::span<const DecodeLane> lanes, int ctas, DecodePlan& plan) {
  plan.items.clear();
  plan.merges.clear();
  plan.parts = 0;
  plan.load.assign(ctas, 0);
  plan.by_cta.resize(ctas);
  for (auto& items : plan.by_cta) items.clear();
  plan.order.resize(lanes.size());
  std::iota(plan.order.begin(), plan.order.end(), 0);
  const int32_t whole = WholeSlots(lanes, ctas);
  const auto middle =
      std::stable_partition(plan.order.begin(), plan.order.end(),
                            [&](int32_t lane) { return lanes[lane].slots <= whole; });
  PlaceWhole(lanes, {plan.order.begin(), middle}, plan);
  int64_t tiles = 0;
  for (auto lane = middle; lane != plan.order.end(); ++lane) tiles += Tiles(lanes[*lane].slots);
  ShareOut(tiles, plan.load);
  CutLong(lanes, {middle, plan.order.end()}, plan);
  plan.cta_items.assign(1, 0);
  for (const auto& items : plan.by_cta) {
    plan.items.insert(plan.items.end(), items.begin(), items.end());
    plan.cta_items.push_back(static_cast<int32_t>(plan.items.size()));
  }
}

namespace {

// How many of positions [0, end) of a full lane are in owned pages.
int64_t OwnedTokens(const StripeRange& stripes, int64_t end) {
  const int64_t page = end / kFullPageTokens;
  return stripes.Owned(page) * kFullPageTokens + (stripes.Owns(page) ? end % kFullPageTokens : 0);
}

}  // namespace

void SetKept(const LaneRule& rule, int64_t length, DecodeLane& lane) {
  const HeldPages held = HeldPagesAt(rule, length);
  const int64_t page_tokens = rule.page_tokens();
  const int64_t dropped = DroppedTokens(rule, length - 1);
  const int64_t sink_slots = held.sink_end * page_tokens;
  lane.page_shift = std::countr_zero(static_cast<uint64_t>(page_tokens));
  lane.slots = static_cast<int32_t>(length - held.window_begin * page_tokens + sink_slots);
  lane.gap_begin = lane.gap_end = 0;
  if (dropped > 0) {
    lane.gap_begin = static_cast<int32_t>(rule.sinks);
    lane.gap_end = static_cast<int32_t>(sink_slots);
  }
  lane.dropped = static_cast<int32_t>(rule.compensates() ? dropped : 0);
  if (rule.full) lane.slots = static_cast<int32_t>(OwnedTokens(rule.stripes, length));
}

void SetSinks(const LaneRule& rule, int64_t length, int64_t sink_rows, DecodeLane& lane) {
  const int64_t sinks = std::min(sink_rows, length);
  if (sinks == 0) return;
  const int64_t taken = rule.full ? OwnedTokens(rule.stripes, sinks) : sinks;
  lane.sink_rows = static_cast<int32_t>(sink_rows);
  lane.sink_end = static_cast<int32_t>(!rule.full || rule.stripes.Owns(0) ? sinks : 0);
  lane.gap_begin = 0;
  lane.gap_end = std::max(lane.gap_end, static_cast<int32_t>(taken));
}

void BoundByWindow(int64_t length, int64_t window, DecodeLane& lane, StripeRange stripes) {
  const int64_t hidden = stripes.whole()
                             ? lane.slots - std::min(length, window)  // end at length
                             : OwnedTokens(stripes, std::max<int64_t>(length - window, 0));
  const auto past = static_cast<int32_t>(std::max<int64_t>(length - window, 0));
  lane.sink_begin = std::min(past, lane.sink_end);
  if (hidden <= 0) return;
  const auto pages = static_cast<int32_t>(hidden >> lane.page_shift);
  lane.page_ids += pages;
  lane.slots -= pages << lane.page_shift;
  const int32_t dead = std::max(lane.gap_end, static_cast<int32_t>(hidden));
  lane.gap_begin = 0;
  lane.gap_end = dead - (pages << lane.page_shift);
}

}  // namespace headlong
