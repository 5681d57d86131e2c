#include "cli/head_map.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/quantity.h"
#include "cli/table.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr std::array<const char*, 6> kWorkerColours{"36", "33", "35", "32", "34", "31"};
constexpr char kRetrievalStyle[] = "1;33";
constexpr char kLocalStyle[] = "36";
constexpr char kOtherStyle[] = "35";

std::string PolicyStyle(const Plan& plan, int policy) {
  if (plan.policies()[policy].full()) return kRetrievalStyle;
  return plan.policies()[policy].name == "local" ? kLocalStyle : kOtherStyle;
}

// Which of the levels shows `bytes` out of `full`: the top one only for all of it.
std::string LevelGlyph(int64_t bytes, int64_t full, bool utf8) {
  const double share = full > 0 ? static_cast<double>(bytes) / static_cast<double>(full) : 1;
  const int level =
      share >= 1 ? kLevels - 1 : std::clamp(static_cast<int>(share * kLevels), 0, kLevels - 2);
  return LevelMark(level, utf8);
}

int CountHeads(const Plan& plan, int policy) {
  int count = 0;
  for (int layer = 0; layer < plan.layers(); ++layer) {
    for (int head = 0; head < plan.kv_heads(); ++head) {
      count += plan.policy_index(layer, head) == policy;
    }
  }
  return count;
}

// A, B, ..., Z, AA, AB, ...
std::string WorkerLetters(int rank) {
  std::string letters(1, static_cast<char>('A' + rank % 26));
  if (rank >= 26) letters.insert(letters.begin(), static_cast<char>('A' + rank / 26 - 1));
  return letters;
}

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

HeadGrid PlanGrid(const Plan& plan) {
  const std::vector<char> letters = PolicyLetters(plan);
  HeadGrid grid{plan.layers(), plan.kv_heads(), {}};
  for (int layer = 0; layer < plan.layers(); ++layer) {
    for (int head = 0; head < plan.kv_heads(); ++head) {
      const int policy = plan.policy_index(layer, head);
      grid.cells.push_back({std::string(1, letters[policy]), PolicyStyle(plan, policy)});
    }
  }
  return grid;
}

}  // namespace

std::string DrawHeadGrid(const HeadGrid& grid, const MapStyle& style) {
  TextGrid text{"layer", {}, {}, grid.cells};
  for (int layer = 0; layer < grid.layers; ++layer) text.columns.push_back(absl::StrCat(layer));
  for (int head = 0; head < grid.heads; ++head) text.rows.push_back(absl::StrCat("head ", head));
  return DrawTextGrid(text, style);
}

std::vector<char> PolicyLetters(const Plan& plan) {
  std::vector<char> letters;
  std::set<char> taken;
  for (const HeadPolicy& policy : plan.policies()) {
    // The first free letter of its name, then any letter.
    const std::string candidates = Lower(policy.name) + "abcdefghijklmnopqrstuvwxyz";
    char letter = '?';
    for (const char c : candidates) {
      if (std::isalpha(static_cast<unsigned char>(c)) && taken.insert(c).second) {
        letter = c;
        break;
      }
    }
    letters.push_back(policy.full()
                          ? static_cast<char>(std::toupper(static_cast<unsigned char>(letter)))
                          : letter);
  }
  return letters;
}

std::string DescribePolicy(const HeadPolicy& policy, PrefillMode prefill) {
  std::string text = "keeps everything";
  if (!policy.full()) {
    const std::string window = prefill == PrefillMode::kExact
                                   ? "a window of the prompt's fifth"
                                   : absl::StrCat("last ", FormatCount(*policy.window_tokens));
    text = absl::StrCat(policy.sinks > 0 ? absl::StrCat("first ", policy.sinks, ", ") : "", window,
                        policy.compensation == Compensation::kMean ? ", a mean of the rest" : "");
  }
  if (policy.rank.projected()) absl::StrAppend(&text, ", rank ", LaneRankName(policy.rank));
  if (policy.rotation == Rotation::kHadamard) text += ", turned by Hadamard's rotation";
  if (!policy.storage.named()) return text;
  const bool plain_sinks = policy.storage.coded() && policy.sinks > 0;
  return absl::StrCat(text, ", in ", LaneStorageName(policy.storage),
                      plain_sinks ? absl::StrCat(" after the first ", policy.sinks) : "");
}

std::string DrawCacheMap(const Plan& plan, const CacheMapParams& params, const MapStyle& style) {
  const int64_t full = LaneBytes(LaneRule{}, params.length, params.head_dim, params.element_bytes);
  std::vector<int64_t> bytes;  // of one lane, by policy
  for (size_t policy = 0; policy < plan.policies().size(); ++policy) {
    bytes.push_back(LaneBytes(plan.rule(static_cast<int>(policy), params.prompt_tokens),
                              params.length, params.head_dim, params.element_bytes));
  }
  HeadGrid grid = PlanGrid(plan);
  for (int i = 0; i < static_cast<int>(grid.cells.size()); ++i) {
    const int policy = plan.policy_index(i / grid.heads, i % grid.heads);
    grid.cells[i].text += LevelGlyph(bytes[policy], full, style.utf8);
  }
  const std::vector<char> letters = PolicyLetters(plan);
  Table legend({"", "", ">heads", ">each", ""});
  int64_t total = 0;
  for (size_t policy = 0; policy < plan.policies().size(); ++policy) {
    const HeadPolicy& entry = plan.policies()[policy];
    const int heads = CountHeads(plan, static_cast<int>(policy));
    if (heads == 0) continue;
    total += heads * bytes[policy];
    legend.Row(
        {absl::StrCat(std::string(1, letters[policy]), LevelGlyph(bytes[policy], full, style.utf8)),
         entry.name, absl::StrCat(heads), FormatBytes(bytes[policy]),
         DescribePolicy(entry, plan.prefill())});
  }
  const int64_t all_full = full * plan.layers() * plan.kv_heads();
  return absl::StrCat(
      DrawHeadGrid(grid, style), "\n", legend.Text(), FormatCount(params.length), " tokens: cache ",
      FormatBytes(total), " of ", FormatBytes(all_full), " in full (",
      FormatPercent(all_full > 0 ? static_cast<double>(total) / all_full : 1), ")\n");
}

std::string DrawPlanMap(const Plan& plan, const MapStyle& style) {
  const std::vector<char> letters = PolicyLetters(plan);
  Table legend({"", "", ">heads", ""});
  for (size_t policy = 0; policy < plan.policies().size(); ++policy) {
    legend.Row({std::string(1, letters[policy]), plan.policies()[policy].name,
                absl::StrCat(CountHeads(plan, static_cast<int>(policy))),
                DescribePolicy(plan.policies()[policy], plan.prefill())});
  }
  return absl::StrCat(DrawHeadGrid(PlanGrid(plan), style), "\n", legend.Text());
}

RoleCounts CountRoles(const v1::WorkerShare& share) {
  RoleCounts counts;
  std::set<std::pair<uint32_t, uint32_t>> retrieval;
  for (const v1::HeadShare& head : share.heads()) {
    if (head.retrieval()) {
      retrieval.insert({head.layer(), head.head()});
    } else {
      ++counts.local;
    }
  }
  counts.retrieval = static_cast<int>(retrieval.size());
  return counts;
}

std::string DrawPlacementMap(const v1::Placement& placement, int layers, int kv_heads,
                             const MapStyle& style) {
  HeadGrid grid{layers, kv_heads, {}};
  grid.cells.assign(layers * kv_heads, {"?", "31"});
  Table legend({"", "worker", ">retrieval", ">local", ">cache", ">weights", ">memory"});
  for (int rank = 0; rank < placement.workers_size(); ++rank) {
    const v1::WorkerShare& share = placement.workers(rank);
    const std::string letters = WorkerLetters(rank);
    const auto [retrieval, local] = CountRoles(share);
    for (const v1::HeadShare& head : share.heads()) {
      const int at = static_cast<int>(head.layer() * kv_heads + head.head());
      if (head.layer() >= static_cast<uint32_t>(layers) ||
          head.head() >= static_cast<uint32_t>(kv_heads)) {
        continue;  // of a newer epoch with another model; the legend still counts it
      }
      GridCell& cell = grid.cells[at];
      if (cell.text != "?") {  // the owner of an earlier stripe stands there
        if (!cell.text.ends_with('+')) cell.text += "+";
        continue;
      }
      const std::string colour = kWorkerColours[rank % kWorkerColours.size()];
      cell = {head.retrieval() ? letters : Lower(letters),
              head.retrieval() ? absl::StrCat("1;7;", colour) : colour};
    }
    legend.Row({letters, share.worker_id(), absl::StrCat(retrieval), absl::StrCat(local),
                FormatBytes(share.cache_bytes()), FormatBytes(share.weights_bytes()),
                FormatBytes(share.memory_bytes())});
  }
  return absl::StrCat(DrawHeadGrid(grid, style), "\n", legend.Text(),
                      absl::StrFormat("upper case: retrieval heads; +: and on others. epoch %u, "
                                      "step %.3f ms modelled, at least "
                                      "%.3f ms (gap %.1f %%)\n",
                                      placement.epoch(), placement.step_ms(),
                                      placement.lower_bound_ms(), 100 * placement.gap()));
}

}  // namespace headlong
