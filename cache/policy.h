// What one head keeps, as arithmetic: pure, no state. DESIGN: "What a local head sees".
//
// Positions are absolute and 0-based. A local head keeps S sinks and a window of at least W
// positions whose start moves in whole blocks of B; what it dropped is one more key, the
// compensation token. A full head keeps everything.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cache/lane_storage.h"
#include "cache/row_format.h"
#include "cache/stripes.h"

namespace headlong {

inline constexpr int kBlockTokens = 16;     // unit of hashing, copying and dropping
inline constexpr int kFullPageTokens = 64;  // page of a class that keeps everything
inline constexpr int kLocalPageTokens = kBlockTokens;
inline constexpr int64_t kExactMinWindow = 4000;  // RazorAttention: W = max(4000, N div 5)

enum class Compensation { kNone, kMean };
enum class PrefillMode { kStreaming, kExact };

// One entry of "policies" in a plan.
struct HeadPolicy {
  std::string name;
  int sinks = 0;  // first positions kept by a local head; where it codes, they stay plain numbers
  std::optional<int64_t> window_tokens;  // absent: keeps everything
  Compensation compensation = Compensation::kMean;
  LaneStorage storage = {};
  LaneRank rank = {};
  Rotation rotation = Rotation::kNone;

  bool full() const { return !window_tokens.has_value(); }
  // Keeps every token just as the model makes it.
  bool keeps_all() const {
    return full() && !storage.named() && !rank.projected() && rotation == Rotation::kNone;
  }
  bool operator==(const HeadPolicy&) const = default;
};

// A policy made concrete for one sequence.
struct LaneRule {
  bool full = true;
  int64_t sinks = 0;
  int64_t window = 0;  // W >= 1 when not full
  int64_t block_tokens = kBlockTokens;
  Compensation compensation = Compensation::kMean;
  StripeRange stripes = {};  // of a full lane: what this worker keeps of it
  LaneStorage storage = {};
  LaneRank rank = {};
  int64_t plain_tokens = 0;  // of a coded lane: first positions that are stored as plain numbers

  int page_tokens() const { return full ? kFullPageTokens : kLocalPageTokens; }
  // True where a lane has fp32 sums.
  bool compensates() const { return !full && compensation == Compensation::kMean; }
  // In a cache of that type. `own` is a plain type.
  LaneFormat format(int head_dim, Storage own) const;
  // Where only sizes count: of whichever type has so many bytes, 4 or 2.
  LaneFormat format(int head_dim, int element_bytes) const;
};

// In kExact mode a local head's window is max(4000, prompt_tokens div 5) and `window_tokens` of the
// policy is ignored. `prompt_tokens` is N, the request's original prompt length.
LaneRule RuleFor(const HeadPolicy& policy, PrefillMode prefill, int block_tokens,
                 int64_t prompt_tokens);

// lo(m): first kept position of the window when the query is at position m >= 0. A full head: 0.
//   lo(m) = max(S, floor((m + 1 - W) / B) * B)
// Values <= S mean that nothing is dropped.
int64_t WindowStart(const LaneRule& rule, int64_t m);

// N_d(m): number of positions in [S, lo(m)), the ones the compensation token stands for.
int64_t DroppedTokens(const LaneRule& rule, int64_t m);

// Page numbers (position / page_tokens) that a lane holds: [0, sink_end) and [window_begin, end).
// Disjoint: a page with sinks and window positions is a sink page. A full lane has no sink pages;
// of one that is split into stripes the numbers count owned pages.
struct HeldPages {
  int64_t sink_end = 0;
  int64_t window_begin = 0;
  int64_t end = 0;
  int64_t count() const { return sink_end + end - window_begin; }
};

// Pages held once `length` positions are committed (none for length 0): those with sinks, and those
// from lo(length - 1) on. Each of the three numbers never falls while `length` grows.
HeldPages HeldPagesAt(const LaneRule& rule, int64_t length);
int64_t PagesHeld(const LaneRule& rule, int64_t length);

// The most pages one sequence of at most `max_context` positions ever holds, and for local rules
// one spare: min(ceil(S/16) + ceil((W-1)/B) * B/16 + B/16, ceil(max_context/16)) + 1. For kExact
// pass the rule of N = max_context: W grows with N, so that rule bounds every shorter prompt.
int64_t PagesReserved(const LaneRule& rule, int64_t max_context);

// Bytes of one lane of one sequence: of a page of K and V; of what is there beside the pages from
// the first token on, the fp32 sums where the rule compensates and the plain first tokens of a
// coded lane; and of all of it at `length`. `element_bytes` as in LaneRule::format.
int64_t LanePageBytes(const LaneRule& rule, int head_dim, int element_bytes);
int64_t LaneSlotBytes(const LaneRule& rule, int head_dim, int element_bytes);
int64_t LaneBytes(const LaneRule& rule, int64_t length, int head_dim, int element_bytes);

}  // namespace headlong
