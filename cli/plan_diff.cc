#include "cli/plan_diff.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/quantity.h"
#include "cli/table.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr char kMore[] = "33";
constexpr char kLess[] = "36";

bool KeepsTheSame(const HeadPolicy& a, const HeadPolicy& b) {
  if (a.storage != b.storage || a.rank != b.rank || a.rotation != b.rotation) return false;
  if (a.full() || b.full()) return a.full() == b.full() && a.sinks == b.sinks;
  return a.sinks == b.sinks && a.window_tokens == b.window_tokens &&
         a.compensation == b.compensation;
}

int64_t LaneBytesAt(const Plan& plan, int layer, int head, const CacheMapParams& at) {
  return LaneBytes(plan.rule(plan.policy_index(layer, head), at.length), at.length, at.head_dim,
                   at.element_bytes);
}

int64_t PlanBytes(const Plan& plan, const CacheMapParams& at) {
  return plan.SequenceBytes(at.length, at.length, at.head_dim, at.element_bytes);
}

const char* PrefillName(const Plan& plan) {
  return plan.prefill() == PrefillMode::kExact ? "exact" : "streaming";
}

OutputJson OneJson(const Plan& plan, const CacheMapParams& at, int64_t full) {
  OutputJson json;
  json["prefill"] = PrefillName(plan);
  json["block_tokens"] = plan.block_tokens();
  json["cache_bytes"] = PlanBytes(plan, at);
  json["share"] = static_cast<double>(PlanBytes(plan, at)) / static_cast<double>(full);
  return json;
}

GridCell CellOf(const HeadDifference& head) {
  if (head.b_bytes > head.a_bytes) return {"+", kMore};
  if (head.b_bytes < head.a_bytes) return {"-", kLess};
  return {"~", kMore};
}

}  // namespace

PlanDiff DiffPlans(const Plan& a, const Plan& b, const CacheMapParams& at) {
  PlanDiff diff;
  diff.a = a;
  diff.b = b;
  diff.at = at;
  diff.same_rules = a.prefill() == b.prefill() && a.block_tokens() == b.block_tokens();
  for (int layer = 0; layer < a.layers(); ++layer) {
    for (int head = 0; head < a.kv_heads(); ++head) {
      const HeadPolicy& in_a = a.policy(layer, head);
      const HeadPolicy& in_b = b.policy(layer, head);
      if (KeepsTheSame(in_a, in_b)) continue;
      diff.heads.push_back({layer, head, in_a, in_b, LaneBytesAt(a, layer, head, at),
                            LaneBytesAt(b, layer, head, at)});
    }
  }
  return diff;
}

OutputJson PlanDiffJson(const PlanDiff& diff) {
  const int64_t full =
      diff.a.FullSequenceBytes(diff.at.length, diff.at.head_dim, diff.at.element_bytes);
  OutputJson json;
  json["same"] = diff.same();
  json["length"] = diff.at.length;
  json["heads"] = OutputJson::array();
  for (const HeadDifference& head : diff.heads) {
    OutputJson entry;
    entry["layer"] = head.layer;
    entry["head"] = head.head;
    entry["a"] = head.a.name;
    entry["b"] = head.b.name;
    entry["a_bytes"] = head.a_bytes;
    entry["b_bytes"] = head.b_bytes;
    json["heads"].push_back(std::move(entry));
  }
  json["a"] = OneJson(diff.a, diff.at, full);
  json["b"] = OneJson(diff.b, diff.at, full);
  json["full_cache_bytes"] = full;
  return json;
}

std::string PlanDiffText(const PlanDiff& diff, const MapStyle& style) {
  const int64_t full =
      diff.a.FullSequenceBytes(diff.at.length, diff.at.head_dim, diff.at.element_bytes);
  std::string text;
  if (!diff.heads.empty()) {
    HeadGrid grid{diff.a.layers(), diff.a.kv_heads(), {}};
    grid.cells.assign(static_cast<size_t>(grid.layers) * grid.heads, {".", ""});
    std::map<std::pair<std::string, std::string>, int> kinds;
    for (const HeadDifference& head : diff.heads) {
      grid.cells[head.layer * grid.heads + head.head] = CellOf(head);
      ++kinds[{DescribePolicy(head.a, diff.a.prefill()), DescribePolicy(head.b, diff.b.prefill())}];
    }
    Table table({">heads", "in A", "in B"});
    for (const auto& [kind, count] : kinds) {
      table.Row({absl::StrCat(count), kind.first, kind.second});
    }
    absl::StrAppend(&text, DrawHeadGrid(grid, style),
                    "\n+ keeps more in B, - less, ~ as much otherwise\n\n", table.Text(), "\n");
  }
  Table sizes({"", "prefill", ">blocks", ">cache", ">share"});
  for (const auto& [name, plan] : {std::pair("A", &diff.a), std::pair("B", &diff.b)}) {
    const int64_t bytes = PlanBytes(*plan, diff.at);
    sizes.Row({name, PrefillName(*plan), absl::StrCat(plan->block_tokens()), FormatBytes(bytes),
               FormatPercent(static_cast<double>(bytes) / static_cast<double>(full))});
  }
  return absl::StrCat(text, diff.same() ? "The plans keep the same.\n" : "", sizes.Text(),
                      FormatCount(diff.at.length), " tokens, ", FormatBytes(full), " in full\n");
}

}  // namespace headlong
