#include "cli/head_scores.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/status.h"

namespace headlong {
namespace {

// Scores by layer and head.
absl::StatusOr<std::vector<double>> ParseScores(std::string_view text, const PlanShape& shape,
                                                std::string_view source) {
  std::vector<double> scores;
  int layer = 0;
  int line_number = 0;
  for (absl::string_view line : absl::StrSplit(Av(text), '\n')) {
    ++line_number;
    const std::vector<std::string> cells =
        absl::StrSplit(line, absl::ByAnyChar("\t ,\r"), absl::SkipEmpty());
    if (cells.empty()) continue;
    const std::string where = absl::StrCat(Av(source), ": line ", line_number);
    if (static_cast<int>(cells.size()) != shape.kv_heads) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": has ", cells.size(),
                                                     " columns, but the model has ", shape.kv_heads,
                                                     " KV heads"));
    }
    for (size_t head = 0; head < cells.size(); ++head) {
      double score = 0;
      if (!absl::SimpleAtod(cells[head], &score) || !std::isfinite(score)) {
        return absl::InvalidArgumentError(absl::StrCat(where, ": column ", head + 1,
                                                       ": must be a number, is \"",
                                                       cells[head].substr(0, 40), "\""));
      }
      scores.push_back(score);
    }
    ++layer;
  }
  if (layer == shape.layers) return scores;
  return absl::InvalidArgumentError(absl::StrCat(
      Av(source), ": has ", layer, " lines, but the model has ", shape.layers, " layers"));
}

}  // namespace

absl::StatusOr<Plan> PlanFromScores(std::string_view text, const PlanShape& shape,
                                    const ScoreOptions& options, std::string_view source) {
  ASSIGN_OR_RETURN(const std::vector<double> scores, ParseScores(text, shape, source));
  std::vector<bool> keeps_all(scores.size());
  if (options.sparsity) {
    std::vector<size_t> order(scores.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return scores[a] > scores[b]; });
    const auto local = static_cast<size_t>(
        std::floor(*options.sparsity * static_cast<double>(order.size()) + 0.5));
    for (size_t i = 0; i + local < order.size(); ++i) keeps_all[order[i]] = true;
  } else {
    for (size_t i = 0; i < scores.size(); ++i) keeps_all[i] = scores[i] >= 0.5;
  }
  std::string heads;
  for (int layer = 0; layer < shape.layers; ++layer) {
    for (int head = 0; head < shape.kv_heads; ++head) {
      if (!keeps_all[layer * shape.kv_heads + head]) continue;
      absl::StrAppend(&heads, heads.empty() ? "" : ",", R"({"layer":)", layer, R"(,"heads":[)",
                      head, R"(],"policy":"retrieval"})");
    }
  }
  const std::string json = absl::StrCat(
      R"({"version":1,"layers":)", shape.layers, R"(,"kv_heads":)", shape.kv_heads,
      R"(,"policies":{"retrieval":{},"local":{"sinks":)", options.sinks, R"(,"window_tokens":)",
      options.window_tokens, R"(}},"default":"local","heads":[)", heads, "]}");
  return Plan::FromJson(json, shape, source);
}

}  // namespace headlong
