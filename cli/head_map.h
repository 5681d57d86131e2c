// Pictures of a model's heads for the terminal: one row per head, one column per layer. Pure; they
// can be read without colour, and without block characters where the locale has none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cache/plan.h"
#include "cli/text_grid.h"
#include "headlong/v1/placement.pb.h"

namespace headlong {

struct HeadGrid {
  int layers = 0;
  int heads = 0;
  std::vector<GridCell> cells;  // [layer * heads + head]
};

// The grid with its labels, in as many panels as the width asks for.
std::string DrawHeadGrid(const HeadGrid& grid, const MapStyle& style);

struct CacheMapParams {
  int head_dim = 0;
  int element_bytes = 0;
  int64_t length = 0;         // tokens held
  int64_t prompt_tokens = 0;  // of them, the prompt
};

// What one sequence holds in each head: the letter of its policy (upper case: keeps everything) and
// its share of a full cache as a bar; a legend with bytes below.
std::string DrawCacheMap(const Plan& plan, const CacheMapParams& params, const MapStyle& style);

// Policies without bytes: for a plan that no sequence runs under.
std::string DrawPlanMap(const Plan& plan, const MapStyle& style);

// How many heads of each role a share holds; one of which it holds stripes counts once.
struct RoleCounts {
  int retrieval = 0;
  int local = 0;
};
RoleCounts CountRoles(const v1::WorkerShare& share);

// Which worker holds each head: a letter per worker, upper case for retrieval heads, '+' behind it
// where more workers share the head; a legend with bytes below.
std::string DrawPlacementMap(const v1::Placement& placement, int layers, int kv_heads,
                             const MapStyle& style);

// One letter per policy, in the order of plan.policies(): upper case for those that keep
// everything.
std::vector<char> PolicyLetters(const Plan& plan);

// "keeps everything", "first 4, last 256, a mean of the rest"
std::string DescribePolicy(const HeadPolicy& policy, PrefillMode prefill);

}  // namespace headlong
