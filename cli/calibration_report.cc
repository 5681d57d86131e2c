#include "cli/calibration_report.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/cost_curve_svg.h"
#include "cli/head_heat_maps.h"
#include "cli/quantity.h"
#include "cli/recall_map.h"
#include "cli/svg.h"
#include "cli/table.h"
#include "common/status.h"
#include "coordinator/calibration/layer_rule.h"

namespace headlong {
namespace {

constexpr size_t kDearestHeads = 12;

constexpr char kPageStart[] = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --ink: #1f2430; --faint: #d5d9e0; --page: #ffffff;
        --card: #f6f7f9; --quiet: #5b6270; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7ec; --faint: #3a404b; --page: #14171d; --card: #1c2029; --quiet: #9aa2b1; } }
body { font: 15px/1.5 sans-serif; color: var(--ink); background: var(--page);
       max-width: 880px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p { margin: .4rem 0; } .quiet { color: var(--quiet); }
figure { margin: 1rem 0; padding: .6rem; background: var(--card); border-radius: 8px;
         overflow-x: auto; }
svg { display: block; } .ink { fill: var(--ink); } .faint { stroke: var(--faint); }
.paper { fill: none; } .halo { stroke: var(--card); }
.row { display: flex; flex-wrap: wrap; gap: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--faint); }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; }
</style>
)";

struct PlanNumbers {
  std::string name;
  int64_t bytes = 0;
  double share = 0;
  int retrieval_heads = 0;
  double kl = 0;
  std::optional<double> predicted_kl;
  std::optional<double> recall;
};

std::vector<PlanNumbers> NumbersOf(const Evidence& evidence) {
  std::vector<PlanNumbers> all;
  for (const MeasuredPlan& measured : evidence.plans) {
    PlanNumbers numbers;
    numbers.name = measured.name;
    numbers.bytes = evidence.BytesOf(measured.plan);
    numbers.share = static_cast<double>(numbers.bytes) / static_cast<double>(evidence.FullBytes());
    numbers.kl = measured.kl;
    for (int layer = 0; layer < measured.plan.layers(); ++layer) {
      for (int head = 0; head < measured.plan.kv_heads(); ++head) {
        numbers.retrieval_heads += measured.plan.policy(layer, head).full();
      }
    }
    const absl::StatusOr<double> predicted = PredictedKl(evidence.costs, measured.plan);
    if (predicted.ok()) numbers.predicted_kl = *predicted;
    int trials = 0, correct = 0;
    for (const RecallCell& cell : measured.needle) {
      trials += cell.trials;
      correct += cell.correct;
    }
    if (trials > 0) numbers.recall = static_cast<double>(correct) / trials;
    all.push_back(std::move(numbers));
  }
  return all;
}

std::string Optional(const std::optional<double>& value) {
  return value ? absl::StrFormat("%.4f", *value) : "-";
}

std::string HtmlTable(const std::vector<std::string>& columns,
                      const std::vector<std::vector<std::string>>& rows) {
  std::string html = "<table><thead><tr>";
  for (const std::string& column : columns) {
    absl::StrAppend(&html, "<th>", XmlEscaped(column), "</th>");
  }
  html += "</tr></thead><tbody>\n";
  for (const std::vector<std::string>& row : rows) {
    html += "<tr>";
    for (const std::string& cell : row) absl::StrAppend(&html, "<td>", XmlEscaped(cell), "</td>");
    html += "</tr>\n";
  }
  return html + "</tbody></table>\n";
}

std::string Figure(const std::string& svg) { return absl::StrCat("<figure>", svg, "</figure>\n"); }

// Figures side by side where there is room.
std::string Row(const std::string& figures) {
  return absl::StrCat("<div class=\"row\">\n", figures, "</div>\n");
}

std::string Heading(const std::string& text, const std::string& below) {
  return absl::StrCat("<h2>", XmlEscaped(text), "</h2>\n<p class=\"quiet\">", XmlEscaped(below),
                      "</p>\n");
}

std::string PlanTable(const Evidence& evidence) {
  std::vector<std::vector<std::string>> rows;
  for (const PlanNumbers& plan : NumbersOf(evidence)) {
    rows.push_back({plan.name, absl::StrCat(plan.retrieval_heads), FormatBytes(plan.bytes),
                    FormatPercent(plan.share), absl::StrFormat("%.4f", plan.kl),
                    Optional(plan.predicted_kl),
                    plan.recall ? absl::StrFormat("%.3f", *plan.recall) : "-"});
  }
  return absl::StrCat(
      Heading("Plans",
              "Mean KL of the next token against the full cache, over text that no choice "
              "was made by. The sum adds what every head's choice cost by itself."),
      HtmlTable({"plan", "retrieval heads", "cache", "share", "KL", "sum of heads", "recall"},
                rows));
}

// Scores that were measured, with their names.
std::vector<std::pair<std::string, const std::vector<double>*>> ScoresOf(const HeadScores& scores) {
  std::vector<std::pair<std::string, const std::vector<double>*>> named;
  if (!scores.induction.empty()) named.emplace_back("induction score", &scores.induction);
  if (!scores.echo.empty()) named.emplace_back("echo score", &scores.echo);
  if (!scores.needle.empty()) named.emplace_back("needle score", &scores.needle);
  return named;
}

std::string ScoreFigures(const Evidence& evidence) {
  std::string figures;
  for (const auto& [name, scores] : ScoresOf(evidence.scores)) {
    figures += Figure(HeatMapSvg(ScoreMap(*scores, evidence.shape, name)));
  }
  return absl::StrCat(
      Heading("Scores",
              "On repeated random tokens: how much a head looks at the token after earlier "
              "copies of the current one (induction), and at the copies themselves (echo). On "
              "planted facts: how often what a head looks at most is the very token of the fact "
              "that the answer repeats (needle)."),
      Row(figures));
}

std::string LayerTable(const std::vector<double>& similarity) {
  const std::vector<int> groups = ThreeMeans(similarity);
  std::vector<std::vector<std::string>> rows;
  for (size_t layer = 0; layer < similarity.size(); ++layer) {
    rows.push_back({absl::StrCat(layer), absl::StrFormat("%.4f", similarity[layer]),
                    absl::StrCat(groups[layer] + 1)});
  }
  return absl::StrCat(Heading("Layers",
                              "The cosine between the residual stream before and after attention, "
                              "its mean over texts with planted facts, and groups by it."),
                      HtmlTable({"layer", "cosine", "group"}, rows));
}

std::string GroupTable(const Evidence& evidence) {
  std::vector<std::vector<std::string>> rows;
  for (const GroupCost& group : evidence.groups) {
    std::string heads;
    for (const auto& [layer, head] : group.heads) {
      absl::StrAppend(&heads, heads.empty() ? "" : " ", layer, ".", head);
    }
    rows.push_back({heads, FormatCount(group.window_tokens), absl::StrFormat("%.4g", group.kl),
                    absl::StrFormat("%.4g", group.sum)});
  }
  return absl::StrCat(Heading("Groups",
                              "Heads (layer.head) that were made local together, and the sum of "
                              "what each of them costs alone."),
                      HtmlTable({"heads", "window", "KL", "sum of heads"}, rows));
}

std::string ScopeFigures(const Evidence& evidence) {
  return absl::StrCat(
      Heading("Scopes",
              "With ALiBi logits fall with distance, and the weights say how far a head can see "
              "at most; a window of that length loses nothing that counts."),
      Figure(HeatMapSvg(ScopeMap(evidence))));
}

std::string StoredAs(const HeadCost& cost) {
  return absl::StrCat(LaneStorageName(cost.storage),
                      cost.rotation == Rotation::kHadamard ? ", turned" : "",
                      cost.rank.projected() ? ", rank " + LaneRankName(cost.rank) : "");
}

std::string CostFigures(const Evidence& evidence) {
  std::vector<HeadCost> dearest = evidence.costs;
  std::stable_sort(dearest.begin(), dearest.end(),
                   [](const HeadCost& a, const HeadCost& b) { return a.kl > b.kl; });
  dearest.resize(std::min(dearest.size(), kDearestHeads));
  std::vector<std::vector<std::string>> rows;
  for (const HeadCost& cost : dearest) {
    rows.push_back(
        {absl::StrCat("layer ", cost.layer, " head ", cost.head), absl::StrCat(cost.sinks),
         cost.window_tokens == 0 ? "all" : FormatCount(cost.window_tokens),
         cost.compensation ? "mean" : "none", StoredAs(cost), absl::StrFormat("%.4g", cost.kl)});
  }
  return absl::StrCat(
      Heading("Costs",
              "What the model's next-token distribution loses when one head alone is "
              "local: the smallest window that was measured; below, the dearest choices."),
      Figure(HeatMapSvg(CostMap(evidence))),
      HtmlTable({"head", "sinks", "window", "compensation", "stored as", "KL"}, rows));
}

std::string PlanFigures(const Evidence& evidence) {
  std::string html =
      Heading("What plans keep", absl::StrCat("The share of a full lane that each head keeps at ",
                                              FormatCount(evidence.context), " tokens."));
  std::string figures;
  for (const MeasuredPlan& measured : evidence.plans) {
    absl::StrAppend(&figures, Figure(HeatMapSvg(KeptMap(evidence, measured.plan, measured.name))));
  }
  return html + Row(figures);
}

std::string RecallFigures(const Evidence& evidence) {
  std::string figures;
  for (const MeasuredPlan& measured : evidence.plans) {
    if (measured.needle.empty()) continue;
    absl::StrAppend(&figures, Figure(HeatMapSvg(RecallMap(measured.needle, measured.name))));
  }
  if (figures.empty()) return "";
  return absl::StrCat(
      Heading("Needle recall", "How often a fact planted at a depth of a text was repeated."),
      Row(figures));
}

std::string Subtitle(const Evidence& evidence) {
  return absl::StrCat(evidence.shape.layers, " layers of ", evidence.shape.kv_heads,
                      " KV heads; sizes at ", FormatCount(evidence.context), " tokens, ",
                      FormatBytes(evidence.FullBytes()), " in full");
}

}  // namespace

absl::StatusOr<std::string> CurveSvg(const Evidence& evidence) {
  if (evidence.costs.empty()) return absl::InvalidArgumentError("no costs were measured");
  CostPlot plot;
  plot.title = "KL over bytes";
  plot.full_bytes = evidence.FullBytes();
  ASSIGN_OR_RETURN(plot.curve, CostCurve(evidence.shape, evidence.costs, evidence.budget()));
  for (const PlanNumbers& plan : NumbersOf(evidence)) {
    plot.points.push_back({plan.name, plan.bytes, plan.kl});
  }
  return CostCurveSvg(plot);
}

absl::StatusOr<std::string> InductionSvg(const Evidence& evidence) {
  if (evidence.scores.induction.empty()) {
    return absl::InvalidArgumentError("no scores were measured");
  }
  return HeatMapSvg(ScoreMap(evidence.scores.induction, evidence.shape, "induction score"));
}

absl::StatusOr<std::string> ReportHtml(const Evidence& evidence) {
  std::string html =
      absl::StrCat(kPageStart, "<title>Calibration of ", XmlEscaped(evidence.model),
                   "</title></head><body>\n<h1>Calibration of ", XmlEscaped(evidence.model),
                   "</h1>\n<p class=\"quiet\">", Subtitle(evidence), "</p>\n");
  if (!evidence.plans.empty()) html += PlanTable(evidence);
  if (!evidence.costs.empty()) {
    ASSIGN_OR_RETURN(const std::string curve, CurveSvg(evidence));
    html += Figure(curve);
  }
  html += RecallFigures(evidence);
  if (!evidence.plans.empty()) html += PlanFigures(evidence);
  if (!evidence.costs.empty()) html += CostFigures(evidence);
  if (!evidence.groups.empty()) html += GroupTable(evidence);
  if (!evidence.scores.echo.empty()) html += ScoreFigures(evidence);
  if (!evidence.scores.similarity.empty()) html += LayerTable(evidence.scores.similarity);
  if (!evidence.scopes.empty()) html += ScopeFigures(evidence);
  return html + "</body></html>\n";
}

std::string ReportText(const Evidence& evidence, const MapStyle& style) {
  std::string text = absl::StrCat(evidence.model, ": ", Subtitle(evidence), "\n");
  for (const auto& [name, scores] : ScoresOf(evidence.scores)) {
    absl::StrAppend(&text, "\n",
                    DrawHeatMap(ScoreMap(*scores, evidence.shape, name + ", %"), style));
  }
  if (!evidence.scopes.empty()) {
    absl::StrAppend(&text, "\n", DrawHeatMap(ScopeMap(evidence), style));
  }
  if (!evidence.costs.empty()) {
    absl::StrAppend(&text, "\n", DrawHeatMap(CostMap(evidence), style));
  }
  if (evidence.plans.empty()) return text;
  Table table({"plan", ">retrieval heads", ">cache", ">share", ">KL", ">sum of heads", ">recall"});
  for (const PlanNumbers& plan : NumbersOf(evidence)) {
    table.Row({plan.name, absl::StrCat(plan.retrieval_heads), FormatBytes(plan.bytes),
               FormatPercent(plan.share), absl::StrFormat("%.4f", plan.kl),
               Optional(plan.predicted_kl),
               plan.recall ? absl::StrFormat("%.3f", *plan.recall) : "-"});
  }
  return absl::StrCat(text, "\n", table.Text());
}

OutputJson ReportJson(const Evidence& evidence) {
  OutputJson json;
  json["model"] = evidence.model;
  json["context"] = evidence.context;
  json["full_cache_bytes"] = evidence.FullBytes();
  json["plans"] = OutputJson::array();
  for (const PlanNumbers& plan : NumbersOf(evidence)) {
    OutputJson entry;
    entry["name"] = plan.name;
    entry["cache_bytes"] = plan.bytes;
    entry["share"] = plan.share;
    entry["retrieval_heads"] = plan.retrieval_heads;
    entry["kl"] = plan.kl;
    entry["predicted_kl"] = plan.predicted_kl ? OutputJson(*plan.predicted_kl) : OutputJson();
    entry["recall"] = plan.recall ? OutputJson(*plan.recall) : OutputJson();
    json["plans"].push_back(std::move(entry));
  }
  return json;
}

}  // namespace headlong
