#include "coordinator/calibration/evidence_json.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/json.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr int64_t kMost = int64_t{1} << 40;
constexpr JsonLimits kLimits{.max_depth = 12};
using OrderedJson = nlohmann::ordered_json;

absl::Status Refuse(std::string_view what, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat(Av(what), ": ", why));
}

OrderedJson ScoresJson(const std::vector<double>& scores, int layers, int kv_heads) {
  OrderedJson rows = OrderedJson::array();
  for (int layer = 0; layer < layers; ++layer) {
    OrderedJson row = OrderedJson::array();
    for (int head = 0; head < kv_heads; ++head) row.push_back(scores[layer * kv_heads + head]);
    rows.push_back(std::move(row));
  }
  return rows;
}

absl::StatusOr<std::vector<double>> ParseScores(const Json& scores, const std::string& key,
                                                const PlanShape& shape, const std::string& what) {
  std::vector<double> values;
  const std::string where = absl::StrCat(what, ": ", key);
  const auto rows = scores.find(key);
  if (rows == scores.end() || !rows->is_array() || static_cast<int>(rows->size()) != shape.layers) {
    return Refuse(where, absl::StrCat("must be an array of ", shape.layers, " layers"));
  }
  for (const Json& row : *rows) {
    if (!row.is_array() || static_cast<int>(row.size()) != shape.kv_heads) {
      return Refuse(where, absl::StrCat("every layer must be an array of ", shape.kv_heads,
                                        " numbers, one is ", JsonExcerpt(row)));
    }
    for (const Json& value : row) {
      if (!value.is_number()) {
        return Refuse(where, absl::StrCat("must be numbers, has ", JsonExcerpt(value)));
      }
      values.push_back(value.get<double>());
    }
  }
  return values;
}

// The elements of an optional array.
absl::StatusOr<std::vector<const Json*>> Elements(const Json& object, const std::string& key,
                                                  std::string_view what) {
  std::vector<const Json*> elements;
  const auto it = object.find(key);
  if (it == object.end()) return elements;
  if (!it->is_array()) {
    return Refuse(what, absl::StrCat(key, ": must be an array, is ", JsonExcerpt(*it)));
  }
  for (const Json& element : *it) elements.push_back(&element);
  return elements;
}

absl::StatusOr<HeadCost> ParseCost(const Json& json, const PlanShape& shape,
                                   std::string_view what) {
  RETURN_IF_ERROR(JsonOnlyFields(json,
                                 {"layer", "head", "sinks", "window_tokens", "compensation", "kl",
                                  "storage", "rank", "rotation"},
                                 what));
  ASSIGN_OR_RETURN(const int64_t layer, JsonInt(json, "layer", 0, shape.layers - 1, what));
  ASSIGN_OR_RETURN(const int64_t head, JsonInt(json, "head", 0, shape.kv_heads - 1, what));
  ASSIGN_OR_RETURN(const int64_t sinks, JsonInt(json, "sinks", 0, INT32_MAX, what));
  HeadCost cost;
  cost.layer = static_cast<int>(layer);
  cost.head = static_cast<int>(head);
  cost.sinks = static_cast<int>(sinks);
  if (json.contains("storage")) {
    ASSIGN_OR_RETURN(const std::string name, JsonString(json, "storage", what));
    const absl::StatusOr<LaneStorage> storage = LaneStorageFromName(name);
    if (!storage.ok()) {
      return Refuse(what, absl::StrCat("storage: ", storage.status().message()));
    }
    cost.storage = *storage;
  }
  if (json.contains("rank")) {
    ASSIGN_OR_RETURN(const std::string name, JsonString(json, "rank", what));
    const absl::StatusOr<LaneRank> rank = LaneRankFromName(name);
    if (!rank.ok()) return Refuse(what, std::string(rank.status().message()));
    cost.rank = *rank;
  }
  if (json.contains("rotation")) {
    ASSIGN_OR_RETURN(const std::string name, JsonString(json, "rotation", what));
    if (name != "hadamard") return Refuse(what, R"(rotation: must be "hadamard")");
    cost.rotation = Rotation::kHadamard;
  }
  const int64_t least = cost.storage.named() || cost.rank.projected() ? 0 : 1;
  ASSIGN_OR_RETURN(cost.window_tokens, JsonInt(json, "window_tokens", least, INT32_MAX, what));
  ASSIGN_OR_RETURN(const std::string compensation, JsonString(json, "compensation", what));
  if (compensation != "mean" && compensation != "none") {
    return Refuse(what, R"(compensation: must be "mean" or "none")");
  }
  cost.compensation = compensation == "mean";
  ASSIGN_OR_RETURN(cost.kl, JsonNumber(json, "kl", what));
  return cost;
}

absl::StatusOr<GroupCost> ParseGroup(const Json& json, const PlanShape& shape,
                                     std::string_view what) {
  RETURN_IF_ERROR(JsonOnlyFields(json, {"heads", "window_tokens", "kl", "sum"}, what));
  GroupCost group;
  ASSIGN_OR_RETURN(const std::vector<const Json*> heads, Elements(json, "heads", what));
  for (const Json* head : heads) {
    const auto within = [&](size_t i, int end) {
      return (*head)[i].is_number_unsigned() &&
             (*head)[i].get<uint64_t>() < static_cast<uint64_t>(end);
    };
    if (!head->is_array() || head->size() != 2 || !within(0, shape.layers) ||
        !within(1, shape.kv_heads)) {
      return Refuse(what, absl::StrCat("heads: must be pairs of a layer and a head, has ",
                                       JsonExcerpt(*head)));
    }
    group.heads.emplace_back((*head)[0].get<int>(), (*head)[1].get<int>());
  }
  if (group.heads.empty()) return Refuse(what, "heads: is missing or empty");
  ASSIGN_OR_RETURN(group.window_tokens, JsonInt(json, "window_tokens", 1, INT32_MAX, what));
  ASSIGN_OR_RETURN(group.kl, JsonNumber(json, "kl", what));
  ASSIGN_OR_RETURN(group.sum, JsonNumber(json, "sum", what));
  return group;
}

absl::StatusOr<HeadScores> ParseAllScores(const Json& json, const PlanShape& shape,
                                          const std::string& what) {
  RETURN_IF_ERROR(JsonOnlyFields(json, {"echo", "induction", "needle", "similarity"}, what));
  HeadScores scores;
  scores.layers = shape.layers;
  scores.kv_heads = shape.kv_heads;
  ASSIGN_OR_RETURN(scores.echo, ParseScores(json, "echo", shape, what));
  ASSIGN_OR_RETURN(scores.induction, ParseScores(json, "induction", shape, what));
  if (json.contains("needle")) {
    ASSIGN_OR_RETURN(scores.needle, ParseScores(json, "needle", shape, what));
  }
  if (!json.contains("similarity")) return scores;
  ASSIGN_OR_RETURN(const std::vector<const Json*> layers, Elements(json, "similarity", what));
  for (const Json* layer : layers) {
    if (layer->is_number()) scores.similarity.push_back(layer->get<double>());
  }
  if (std::ssize(scores.similarity) != shape.layers || std::ssize(layers) != shape.layers) {
    return Refuse(what, absl::StrCat("similarity: must be ", shape.layers, " numbers"));
  }
  return scores;
}

absl::StatusOr<RecallCell> ParseRecall(const Json& json, std::string_view what) {
  RecallCell cell;
  ASSIGN_OR_RETURN(cell.length, JsonInt(json, "length", 1, kMost, what));
  ASSIGN_OR_RETURN(cell.depth, JsonNumber(json, "depth", what));
  ASSIGN_OR_RETURN(const int64_t trials, JsonInt(json, "trials", 1, INT32_MAX, what));
  ASSIGN_OR_RETURN(const int64_t correct, JsonInt(json, "correct", 0, trials, what));
  cell.trials = static_cast<int>(trials);
  cell.correct = static_cast<int>(correct);
  return cell;
}

absl::StatusOr<MeasuredPlan> ParsePlan(const Json& json, const PlanShape& shape,
                                       const std::string& what) {
  RETURN_IF_ERROR(JsonOnlyFields(json, {"name", "kl", "plan", "needle"}, what));
  MeasuredPlan measured;
  ASSIGN_OR_RETURN(measured.name, JsonString(json, "name", what));
  ASSIGN_OR_RETURN(measured.kl, JsonNumber(json, "kl", what));
  const auto plan = json.find("plan");
  if (plan == json.end()) return Refuse(what, "plan: is missing");
  ASSIGN_OR_RETURN(measured.plan,
                   Plan::FromJson(plan->dump(), shape, absl::StrCat(what, ": plan")));
  ASSIGN_OR_RETURN(const std::vector<const Json*> rows, Elements(json, "needle", what));
  for (const Json* row : rows) {
    ASSIGN_OR_RETURN(const RecallCell cell, ParseRecall(*row, absl::StrCat(what, ": needle")));
    measured.needle.push_back(cell);
  }
  return measured;
}

absl::Status ParseShape(const Json& root, std::string_view source, Evidence& evidence) {
  ASSIGN_OR_RETURN(const int64_t layers, JsonInt(root, "layers", 1, 1024, source));
  ASSIGN_OR_RETURN(const int64_t kv_heads, JsonInt(root, "kv_heads", 1, 256, source));
  ASSIGN_OR_RETURN(const int64_t head_dim, JsonInt(root, "head_dim", 1, 1 << 16, source));
  ASSIGN_OR_RETURN(const int64_t element_bytes, JsonInt(root, "element_bytes", 2, 4, source));
  if (element_bytes == 3)
    return Refuse(source, "element_bytes: must be 2 (bf16, fp16) or 4 (fp32), is 3");
  ASSIGN_OR_RETURN(evidence.context, JsonInt(root, "context", 1, INT32_MAX, source));
  evidence.shape.layers = static_cast<int>(layers);
  evidence.shape.kv_heads = static_cast<int>(kv_heads);
  evidence.head_dim = static_cast<int>(head_dim);
  evidence.element_bytes = static_cast<int>(element_bytes);
  if (!root.contains("model_fingerprint")) return absl::OkStatus();
  ASSIGN_OR_RETURN(evidence.shape.model_fingerprint, JsonString(root, "model_fingerprint", source));
  return absl::OkStatus();
}

OrderedJson CostJson(const HeadCost& cost) {
  OrderedJson json;
  json["layer"] = cost.layer;
  json["head"] = cost.head;
  json["sinks"] = cost.sinks;
  json["window_tokens"] = cost.window_tokens;
  json["compensation"] = cost.compensation ? "mean" : "none";
  json["kl"] = cost.kl;
  if (cost.storage.named()) json["storage"] = LaneStorageName(cost.storage);
  if (cost.rank.projected()) json["rank"] = LaneRankName(cost.rank);
  if (cost.rotation == Rotation::kHadamard) json["rotation"] = "hadamard";
  return json;
}

OrderedJson GroupJson(const GroupCost& group) {
  OrderedJson json;
  for (const auto& [layer, head] : group.heads) {
    json["heads"].push_back(OrderedJson::array({layer, head}));
  }
  json["window_tokens"] = group.window_tokens;
  json["kl"] = group.kl;
  json["sum"] = group.sum;
  return json;
}

OrderedJson PlanJson(const MeasuredPlan& measured) {
  OrderedJson json;
  json["name"] = measured.name;
  json["kl"] = measured.kl;
  json["plan"] = OrderedJson::parse(measured.plan.ToJson(), nullptr, /*allow_exceptions=*/false);
  if (measured.needle.empty()) return json;
  for (const RecallCell& cell : measured.needle) {
    OrderedJson row;
    row["length"] = cell.length;
    row["depth"] = cell.depth;
    row["trials"] = cell.trials;
    row["correct"] = cell.correct;
    json["needle"].push_back(std::move(row));
  }
  return json;
}

}  // namespace

std::string EvidenceJson(const Evidence& evidence) {
  const PlanShape& shape = evidence.shape;
  OrderedJson root;
  root["version"] = 1;
  root["model"] = evidence.model;
  if (!shape.model_fingerprint.empty()) root["model_fingerprint"] = shape.model_fingerprint;
  root["layers"] = shape.layers;
  root["kv_heads"] = shape.kv_heads;
  root["head_dim"] = evidence.head_dim;
  root["element_bytes"] = evidence.element_bytes;
  root["context"] = evidence.context;
  if (!evidence.scores.echo.empty()) {
    root["scores"]["echo"] = ScoresJson(evidence.scores.echo, shape.layers, shape.kv_heads);
    root["scores"]["induction"] =
        ScoresJson(evidence.scores.induction, shape.layers, shape.kv_heads);
    if (!evidence.scores.needle.empty()) {
      root["scores"]["needle"] = ScoresJson(evidence.scores.needle, shape.layers, shape.kv_heads);
    }
    if (!evidence.scores.similarity.empty()) {
      root["scores"]["similarity"] = evidence.scores.similarity;
    }
  }
  if (!evidence.scopes.empty()) {
    root["scopes"] = ScoresJson(evidence.scopes, shape.layers, shape.kv_heads);
  }
  root["costs"] = OrderedJson::array();
  for (const HeadCost& cost : evidence.costs) root["costs"].push_back(CostJson(cost));
  for (const GroupCost& group : evidence.groups) root["groups"].push_back(GroupJson(group));
  root["plans"] = OrderedJson::array();
  for (const MeasuredPlan& plan : evidence.plans) root["plans"].push_back(PlanJson(plan));
  return root.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

absl::StatusOr<Evidence> ParseEvidence(std::string_view text, std::string_view source) {
  ASSIGN_OR_RETURN(const Json root, ParseJson(text, source, kLimits));
  RETURN_IF_ERROR(
      JsonOnlyFields(root,
                     {"version", "model", "model_fingerprint", "layers", "kv_heads", "head_dim",
                      "element_bytes", "context", "scores", "scopes", "costs", "groups", "plans"},
                     source));
  RETURN_IF_ERROR(JsonInt(root, "version", 1, 1, source).status());
  Evidence evidence;
  ASSIGN_OR_RETURN(evidence.model, JsonString(root, "model", source));
  RETURN_IF_ERROR(ParseShape(root, source, evidence));
  if (const auto scores = root.find("scores"); scores != root.end()) {
    ASSIGN_OR_RETURN(evidence.scores,
                     ParseAllScores(*scores, evidence.shape, absl::StrCat(Av(source), ": scores")));
  }
  if (root.contains("scopes")) {
    ASSIGN_OR_RETURN(evidence.scopes,
                     ParseScores(root, "scopes", evidence.shape, std::string(source)));
  }
  ASSIGN_OR_RETURN(const std::vector<const Json*> costs, Elements(root, "costs", source));
  for (size_t i = 0; i < costs.size(); ++i) {
    ASSIGN_OR_RETURN(const HeadCost cost, ParseCost(*costs[i], evidence.shape,
                                                    absl::StrCat(Av(source), ": costs[", i, "]")));
    evidence.costs.push_back(cost);
  }
  ASSIGN_OR_RETURN(const std::vector<const Json*> groups, Elements(root, "groups", source));
  for (size_t i = 0; i < groups.size(); ++i) {
    ASSIGN_OR_RETURN(GroupCost group, ParseGroup(*groups[i], evidence.shape,
                                                 absl::StrCat(Av(source), ": groups[", i, "]")));
    evidence.groups.push_back(std::move(group));
  }
  ASSIGN_OR_RETURN(const std::vector<const Json*> plans, Elements(root, "plans", source));
  for (size_t i = 0; i < plans.size(); ++i) {
    ASSIGN_OR_RETURN(MeasuredPlan plan, ParsePlan(*plans[i], evidence.shape,
                                                  absl::StrCat(Av(source), ": plans[", i, "]")));
    evidence.plans.push_back(std::move(plan));
  }
  return evidence;
}

}  // namespace headlong
