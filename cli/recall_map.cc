#include "cli/recall_map.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/quantity.h"

namespace headlong {
namespace {

std::string DepthName(double depth) {
  return depth < 0 ? "all" : absl::StrFormat("%.0f %%", 100 * depth);
}

}  // namespace

HeatMap RecallMap(const std::vector<RecallCell>& cells, const std::string& title) {
  std::set<int64_t> lengths;
  std::set<double> depths;
  std::map<std::pair<int64_t, double>, std::pair<int, int>> counts;  // trials, correct
  for (const RecallCell& cell : cells) {
    lengths.insert(cell.length);
    depths.insert(cell.depth);
    auto& [trials, correct] = counts[{cell.length, cell.depth}];
    trials += cell.trials;
    correct += cell.correct;
  }
  HeatMap map;
  map.title = title;
  map.column_name = "tokens";
  map.row_name = "depth";
  map.colours = HeatColours::kRecall;
  map.low = "0 %";
  map.high = "100 %";
  map.labels_in_svg = true;
  for (const double depth : depths) map.rows.push_back(DepthName(depth));
  for (const int64_t length : lengths) {
    map.columns.push_back(FormatCount(length));
    for (const double depth : depths) {
      const auto found = counts.find({length, depth});
      if (found == counts.end()) {
        map.cells.push_back({std::numeric_limits<double>::quiet_NaN(), "", "no trial"});
        continue;
      }
      const auto [trials, correct] = found->second;
      const double recall = static_cast<double>(correct) / trials;
      map.cells.push_back({recall, absl::StrFormat("%.0f %%", 100 * recall),
                           absl::StrCat(correct, " of ", trials, " found at ", FormatCount(length),
                                        " tokens, depth ", DepthName(depth))});
    }
  }
  return map;
}

}  // namespace headlong
