#include "cli/head_scores.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/json.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr JsonLimits kListLimits{.max_depth = 4};

// The numbers of one line, one per KV head.
absl::StatusOr<std::vector<double>> ParseLine(const std::vector<std::string>& cells,
                                              const PlanShape& shape, int q_heads,
                                              const std::string& where) {
  const int columns = static_cast<int>(cells.size());
  if (columns != shape.kv_heads && columns != q_heads) {
    const bool grouped = q_heads > 0 && q_heads != shape.kv_heads;
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": has ", columns, " columns, but the model has ", shape.kv_heads,
                     " KV heads", grouped ? absl::StrCat(" (", q_heads, " query heads)") : ""));
  }
  const int group = columns / shape.kv_heads;
  std::vector<double> scores;
  for (int column = 0; column < columns; ++column) {
    double score = 0;
    if (!absl::SimpleAtod(cells[column], &score) || !std::isfinite(score)) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": column ", column + 1,
                                                     ": must be a number, is \"",
                                                     cells[column].substr(0, 40), "\""));
    }
    if (column % group == 0) {
      scores.push_back(score);
    } else {
      scores.back() = std::max(scores.back(), score);
    }
  }
  return scores;
}

// Scores by layer and KV head.
absl::StatusOr<std::vector<double>> ParseTable(std::string_view text, const PlanShape& shape,
                                               int q_heads, std::string_view source) {
  std::vector<double> scores;
  int layer = 0;
  int line_number = 0;
  for (absl::string_view line : absl::StrSplit(Av(text), '\n')) {
    ++line_number;
    const std::vector<std::string> cells =
        absl::StrSplit(line, absl::ByAnyChar("\t ,\r"), absl::SkipEmpty());
    if (cells.empty()) continue;
    ASSIGN_OR_RETURN(
        const std::vector<double> row,
        ParseLine(cells, shape, q_heads, absl::StrCat(Av(source), ": line ", line_number)));
    scores.insert(scores.end(), row.begin(), row.end());
    ++layer;
  }
  if (layer == shape.layers) return scores;
  return absl::InvalidArgumentError(absl::StrCat(
      Av(source), ": has ", layer, " lines, but the model has ", shape.layers, " layers"));
}

// Marks the heads of {"LAYER": [HEAD, ..], ..}.
absl::Status MarkListed(const Json& lists, const PlanShape& shape, const std::string& what,
                        std::vector<double>& marks) {
  if (!lists.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": must be an object of layers, is ", JsonExcerpt(lists)));
  }
  for (const auto& [key, heads] : lists.items()) {
    const std::string where = absl::StrCat(what, "[", JsonExcerpt(Json(key)), "]");
    int layer = 0;
    if (!absl::SimpleAtoi(key, &layer) || layer < 0 || layer >= shape.layers) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": must be a layer in [0, ", shape.layers - 1, "]"));
    }
    if (!heads.is_array()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": must be an array of heads, is ", JsonExcerpt(heads)));
    }
    for (const Json& value : heads) {
      const std::optional<int64_t> head = JsonAsInt(value, 0, shape.kv_heads - 1);
      if (!head) {
        return absl::InvalidArgumentError(absl::StrCat(
            where, ": must be heads in [0, ", shape.kv_heads - 1, "], has ", JsonExcerpt(value)));
      }
      marks[layer * shape.kv_heads + *head] = 1;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<double>> ParseLists(std::string_view text, const PlanShape& shape,
                                               std::string_view source) {
  ASSIGN_OR_RETURN(const Json root, ParseJson(text, source, kListLimits));
  RETURN_IF_ERROR(JsonOnlyFields(root, {"prefix_matching", "copying"}, source));
  if (root.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(Av(source), ": has neither prefix_matching nor copying"));
  }
  std::vector<double> marks(static_cast<size_t>(shape.layers) * shape.kv_heads, 0.0);
  for (const auto& [key, lists] : root.items()) {
    RETURN_IF_ERROR(MarkListed(lists, shape, absl::StrCat(Av(source), ": ", key), marks));
  }
  return marks;
}

bool IsJson(std::string_view text) {
  const absl::string_view trimmed = absl::StripLeadingAsciiWhitespace(Av(text));
  return !trimmed.empty() && trimmed[0] == '{';
}

// What a format asks of its scores.
absl::Status CheckFormat(const std::vector<double>& scores, const ScoreOptions& options,
                         std::string_view source) {
  const auto refuse = [&](const std::string& why) {
    return absl::InvalidArgumentError(absl::StrCat(Av(source), ": ", why));
  };
  const auto [low, high] = std::minmax_element(scores.begin(), scores.end());
  if (options.format == HeadFormat::kRazor) {
    const auto other = std::find_if(scores.begin(), scores.end(),
                                    [](double score) { return score != 0 && score != 1; });
    if (other != scores.end()) return refuse(absl::StrCat("a list has 0 and 1, not ", *other));
    if (options.sparsity) return refuse("a list of heads takes no sparsity");
  }
  if (options.format == HeadFormat::kKvzip) {
    if (!options.sparsity) return refuse("KVzip scores need a sparsity: the share of local heads");
    if (*low < 0 || *high > 1) {
      return refuse(absl::StrCat("KVzip scores are in [0, 1], not ", *low < 0 ? *low : *high));
    }
  }
  return absl::OkStatus();
}

std::vector<bool> HeadsThatKeepAll(const std::vector<double>& scores,
                                   std::optional<double> sparsity) {
  std::vector<bool> keeps_all(scores.size());
  if (!sparsity) {
    for (size_t i = 0; i < scores.size(); ++i) keeps_all[i] = scores[i] >= 0.5;
    return keeps_all;
  }
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  const auto local =
      static_cast<size_t>(std::floor(*sparsity * static_cast<double>(order.size()) + 0.5));
  for (size_t i = 0; i + local < order.size(); ++i) keeps_all[order[i]] = true;
  return keeps_all;
}

}  // namespace

HeadFormat HeadFormatOf(std::string_view name) {
  if (name == "duo") return HeadFormat::kDuo;
  if (name == "razor") return HeadFormat::kRazor;
  return name == "kvzip" ? HeadFormat::kKvzip : HeadFormat::kAuto;
}

absl::StatusOr<Plan> PlanFromScores(std::string_view text, const PlanShape& shape,
                                    const ScoreOptions& given, std::string_view source) {
  ScoreOptions options = given;
  const bool json =
      IsJson(text) && options.format != HeadFormat::kDuo && options.format != HeadFormat::kKvzip;
  if (json) options.format = HeadFormat::kRazor;
  ASSIGN_OR_RETURN(
      const std::vector<double> scores,
      json ? ParseLists(text, shape, source) : ParseTable(text, shape, options.q_heads, source));
  RETURN_IF_ERROR(CheckFormat(scores, options, source));
  HeadPolicy retrieval, local;
  retrieval.name = "retrieval";
  local.name = "local";
  local.sinks = options.sinks;
  local.window_tokens = options.window_tokens;
  local.compensation = options.compensation;
  std::vector<HeadPolicy> policies;
  for (const bool keeps_all : HeadsThatKeepAll(scores, options.sparsity)) {
    policies.push_back(keeps_all ? retrieval : local);
  }
  return Plan::FromPolicies({shape.layers, shape.kv_heads}, policies);
}

std::string HeadPattern(const Plan& plan, HeadFormat format) {
  std::string table;
  nlohmann::ordered_json lists = nlohmann::ordered_json::object();
  for (int layer = 0; layer < plan.layers(); ++layer) {
    for (int head = 0; head < plan.kv_heads(); ++head) {
      const bool full = plan.policy(layer, head).full();
      absl::StrAppend(&table, full ? "1" : "0", head + 1 < plan.kv_heads() ? "\t" : "\n");
      if (full) lists[absl::StrCat(layer)].push_back(head);
    }
  }
  if (format != HeadFormat::kRazor) return table;
  nlohmann::ordered_json root;
  root["prefix_matching"] = std::move(lists);
  root["copying"] = nlohmann::ordered_json::object();
  return root.dump() + "\n";
}

}  // namespace headlong
