// How one step's decode attention of a layer is cut into work for the blocks of threads (CTAs) of a
// GPU: which CTA reads which part of which lane. Pure; pointers are carried, never followed.
//
// Lanes are unequal: retrieval lanes hold hundreds of times what local lanes hold. Short lanes stay
// whole; the tokens of all long lanes are laid end to end and cut so that every CTA reads the same
// amount. A lane in several parts is merged afterwards by its parts' log-sum-exp.
//
// A lane's kept tokens are counted in slots: slot i is row i % page_tokens of the lane's page
// page_ids[i / page_tokens]; pages of sinks first, then those of the window.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cache/policy.h"

namespace headlong {

inline constexpr int kDecodeTile = 64;  // slots a CTA takes at a time; parts begin at multiples
inline constexpr int kWholeLaneSlots = 640;  // lanes of at most so many stay whole as a rule

// What attention of one query position reads of one lane. Device memory behind the pointers.
struct DecodeLane {
  const std::byte* pages = nullptr;     // the lane's part of page 0: page_tokens rows of K, of V
  const int32_t* page_ids = nullptr;    // in slot order
  const float* dropped_sums = nullptr;  // [K|V][dims] fp32; null where nothing is dropped
  const std::byte* sinks = nullptr;     // [K|V][sink_rows][dims], plain; null: none
  int64_t page_stride = 0;              // bytes from a page to the next
  int32_t page_shift = 0;               // log2 of page_tokens, at least 4
  int32_t slots = 0;                    // slots to the last kept token, the query's own included
  int32_t gap_begin = 0, gap_end = 0;   // dead slots between sinks and window; empty if equal
  int32_t dropped = 0;                  // N_d
  int32_t query = 0;                    // row of the first query head of the group in q, out, lse
  int32_t sink_rows = 0;                // that there is room for
  int32_t sink_begin = 0;               // rows [begin, end) the query sees, beside the slots
  int32_t sink_end = 0;
  int16_t key_dims = 0, value_dims = 0;  // numbers in a row
};

// Slots [begin, end) of a lane. begin is a multiple of kDecodeTile.
struct DecodeItem {
  DecodeLane lane;
  int32_t begin = 0, end = 0;
  int32_t part = -1;  // where the partial result goes; -1: this is the whole lane
  int32_t unused = 0;
};
static_assert(sizeof(DecodeItem) % 8 == 0);

// From a lane of one layer to the lane of the same head in another layer.
struct LaneShift {
  int64_t page_bytes = 0;
  int64_t sums = 0;  // floats
  int64_t sink_bytes = 0;
};

// The parts [first, first + count) are one lane's. count 0: nothing to do.
struct DecodeMerge {
  int32_t query = 0;
  int32_t first = 0;
  int32_t count = 0;
};

struct DecodePlan {
  std::vector<DecodeItem> items;    // by CTA
  std::vector<int32_t> cta_items;   // [ctas + 1]: CTA c has items [c], ..., [c + 1] - 1
  std::vector<DecodeMerge> merges;  // one per lane that was cut
  int32_t parts = 0;
  std::vector<int32_t> order, load;  // scratch
  std::vector<std::vector<DecodeItem>> by_cta;
};

// Bounds on items, and on parts, for so many lanes.
inline int MaxDecodeItems(int lanes, int ctas) { return lanes + ctas; }

// On lanes that are cut: each border between two CTAs cuts one at most.
inline int MaxDecodeMerges(int lanes, int ctas) { return lanes < ctas ? lanes : ctas; }

// Overwrites `plan`, whose memory is reused. REQUIRES: ctas >= 1, slots >= 0. A lane without slots
// still gets an item, so that its output is written.
void PlanDecode(std::span<const DecodeLane> lanes, int ctas, DecodePlan& plan);

// slots, gap and dropped of a lane that holds, of its own stripes, what a query at position length
// - 1 sees, in the page order of HeldPagesAt(rule, length). REQUIRES: length >= 1.
void SetKept(const LaneRule& rule, int64_t length, DecodeLane& lane);

// Takes out of the slots what of the first `sink_rows` positions they hold, since it is read from
// plain rows; those belong to the worker that holds the lane's first page. REQUIRES: SetKept for
// the same rule and length.
void SetSinks(const LaneRule& rule, int64_t length, int64_t sink_rows, DecodeLane& lane);

// Leaves out what lies at or before length - 1 - window, a sliding window of the model: whole pages
// by moving page_ids on, the rest as a gap. REQUIRES: SetKept, and SetSinks where rows are coded,
// for the same length with a rule that has neither sinks nor compensation; window >= 1. `stripes`:
// the rule's.
void BoundByWindow(int64_t length, int64_t window, DecodeLane& lane, StripeRange stripes = {});

}  // namespace headlong
