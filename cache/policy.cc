#include "cache/policy.h"

#include <algorithm>

#include "cache/check.h"
#include "common/status.h"

namespace headlong {
namespace {

using cache_internal::Check;

int64_t CeilDiv(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

}  // namespace

LaneRule RuleFor(const HeadPolicy& policy, PrefillMode prefill, int block_tokens,
                 int64_t prompt_tokens) {
  Check(block_tokens > 0 && block_tokens % kBlockTokens == 0, "whole blocks leave a window");
  Check(prompt_tokens >= 0, "a prompt has a length");
  LaneRule rule;
  rule.block_tokens = block_tokens;
  rule.storage = policy.storage;
  rule.rank = policy.rank;
  if (policy.storage.coded()) rule.plain_tokens = policy.sinks;
  if (policy.full()) {
    rule.compensation = Compensation::kNone;
    return rule;
  }
  rule.full = false;
  rule.sinks = policy.sinks;
  rule.compensation = policy.compensation;
  rule.window = prefill == PrefillMode::kExact ? std::max(kExactMinWindow, prompt_tokens / 5)
                                               : *policy.window_tokens;
  Check(rule.sinks >= 0 && rule.window >= 1, "a local head sees its own position");
  return rule;
}

int64_t WindowStart(const LaneRule& rule, int64_t m) {
  if (rule.full) return 0;
  const int64_t beyond = m + 1 - rule.window;
  // Truncates; that differs from the floor only below zero, where S decides.
  return std::max(rule.sinks, beyond / rule.block_tokens * rule.block_tokens);
}

int64_t DroppedTokens(const LaneRule& rule, int64_t m) {
  return rule.full ? 0 : WindowStart(rule, m) - rule.sinks;
}

HeldPages HeldPagesAt(const LaneRule& rule, int64_t length) {
  Check(length >= 0, "a lane has a length");
  if (length == 0) return {};
  HeldPages held;
  held.end = CeilDiv(length, rule.page_tokens());
  if (rule.full) {
    held.end = rule.stripes.Owned(held.end);
    return held;
  }
  held.sink_end = std::min(CeilDiv(rule.sinks, kLocalPageTokens), held.end);
  // While nothing is dropped lo is S, which may lie inside the last sink page; afterwards lo is a
  // block border beyond it.
  const int64_t window_page = WindowStart(rule, length - 1) / kLocalPageTokens;
  held.window_begin = std::min(std::max(window_page, held.sink_end), held.end);
  return held;
}

int64_t PagesHeld(const LaneRule& rule, int64_t length) {
  return HeldPagesAt(rule, length).count();
}

int64_t PagesReserved(const LaneRule& rule, int64_t max_context) {
  const int64_t whole_context = CeilDiv(max_context, rule.page_tokens());
  if (rule.full) return rule.stripes.Owned(whole_context);
  // The window holds W to W + B - 1 positions from a multiple of B on.
  const int64_t window_blocks = CeilDiv(rule.window - 1, rule.block_tokens) + 1;
  const int64_t bounded = CeilDiv(rule.sinks, kLocalPageTokens) +
                          window_blocks * (rule.block_tokens / kLocalPageTokens);
  constexpr int64_t kSpare = 1;
  return std::min(bounded, whole_context) + kSpare;
}

LaneFormat LaneRule::format(int head_dim, Storage own) const {
  Check(!IsCoded(own), "the cache's own type holds numbers as they are");
  return {{storage.keys.value_or(own), rank.keys > 0 ? rank.keys : head_dim},
          {storage.values.value_or(own), rank.values > 0 ? rank.values : head_dim},
          own,
          plain_tokens};
}

LaneFormat LaneRule::format(int head_dim, int element_bytes) const {
  Check(element_bytes == 2 || element_bytes == 4, "numbers of a cache have 2 or 4 bytes");
  return format(head_dim, element_bytes == 2 ? Storage::kBfloat16 : Storage::kFloat32);
}

int64_t LanePageBytes(const LaneRule& rule, int head_dim, int element_bytes) {
  return rule.page_tokens() * rule.format(head_dim, element_bytes).token_bytes();
}

int64_t LaneSlotBytes(const LaneRule& rule, int head_dim, int element_bytes) {
  const LaneFormat format = rule.format(head_dim, element_bytes);
  const int64_t sums = rule.compensates() ? format.sum_floats() * int64_t{sizeof(float)} : 0;
  return sums + format.sink_bytes();
}

int64_t LaneBytes(const LaneRule& rule, int64_t length, int head_dim, int element_bytes) {
  return PagesHeld(rule, length) * LanePageBytes(rule, head_dim, element_bytes) +
         LaneSlotBytes(rule, head_dim, element_bytes);
}

}  // namespace headlong
