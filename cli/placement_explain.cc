#include "cli/placement_explain.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/head_map.h"
#include "cli/quantity.h"
#include "cli/table.h"

namespace headlong {
namespace {

constexpr double kFull = 0.97;   // of a worker's memory: nothing more fits
constexpr double kWaits = 0.25;  // of a step: a worker that others hold up

// One worker's part in a step, by the report.
struct WorkerPart {
  const v1::WorkerShare* share = nullptr;
  double attention_ms = 0;
  double mlp_ms = 0;
  double vocabulary_ms = 0;
  int slowest_layers = 0;  // in whose attention everybody waits for it
  double memory = 0;       // share of its limit that is taken
  double speed = 0;        // share of what all workers read per second; 0: not known

  double busy_ms() const { return attention_ms + mlp_ms + vocabulary_ms; }
};

std::vector<WorkerPart> PartsOf(const v1::GetPlacementResponse& placed,
                                const v1::ListWorkersResponse& workers) {
  const v1::PlacementReport& report = placed.report();
  std::vector<WorkerPart> parts(placed.placement().workers_size());
  double all_speeds = 0;
  for (int rank = 0; rank < placed.placement().workers_size(); ++rank) {
    WorkerPart& part = parts[rank];
    part.share = &placed.placement().workers(rank);
    const v1::WorkerTimes& times = report.workers(rank);
    for (const double ms : times.attention_ms()) part.attention_ms += ms;
    for (const double ms : times.mlp_ms()) part.mlp_ms += ms;
    part.vocabulary_ms = times.vocabulary_ms();
    const double taken = static_cast<double>(
        part.share->weights_bytes() + part.share->cache_bytes() + part.share->scratch_bytes());
    if (part.share->memory_bytes() > 0) part.memory = taken / part.share->memory_bytes();
    for (const v1::Worker& worker : workers.workers()) {
      if (worker.id() == part.share->worker_id()) part.speed = worker.read_bytes_per_s();
    }
    all_speeds += part.speed;
  }
  for (WorkerPart& part : parts) part.speed = all_speeds > 0 ? part.speed / all_speeds : 0;
  for (uint32_t layer = 0; layer < placed.layers(); ++layer) {
    const auto slowest = std::max_element(report.workers().begin(), report.workers().end(),
                                          [layer](const auto& a, const auto& b) {
                                            return a.attention_ms(layer) < b.attention_ms(layer);
                                          });
    ++parts[slowest - report.workers().begin()].slowest_layers;
  }
  return parts;
}

// What holds the worker back, in words.
std::string ReasonOf(const WorkerPart& part, double step_ms) {
  if (part.memory >= kFull) return "its memory is full: it holds less than it could compute";
  const double waits = step_ms > 0 ? 1 - part.busy_ms() / step_ms : 0;
  if (waits > kWaits) return "waits for the others: heads cannot be cut finer, or do not pay";
  return "holds what it can compute in time";
}

OutputJson PartJson(const WorkerPart& part, double step_ms) {
  const auto [retrieval, local] = CountRoles(*part.share);
  OutputJson json;
  json["id"] = part.share->worker_id();
  json["retrieval_heads"] = retrieval;
  json["local_heads"] = local;
  json["attention_ms"] = part.attention_ms;
  json["mlp_ms"] = part.mlp_ms;
  json["vocabulary_ms"] = part.vocabulary_ms;
  json["busy"] = step_ms > 0 ? part.busy_ms() / step_ms : 0;
  json["slowest_layers"] = part.slowest_layers;
  json["memory_taken"] = part.memory;
  json["share_of_speed"] = part.speed;
  json["reason"] = ReasonOf(part, step_ms);
  return json;
}

std::string Summary(const v1::GetPlacementResponse& placed) {
  const v1::Placement& placement = placed.placement();
  const v1::PlacementReport& report = placed.report();
  std::string text = absl::StrFormat(
      "epoch %u: a decode step of %.4g sequences of %s tokens is modelled to take %.3f ms: "
      "attention %.3f, MLP %.3f, vocabulary %.3f, sums %.3f, exchange %.3f, fixed %.3f\n",
      placement.epoch(), report.concurrency(), FormatCount(report.context()), placement.step_ms(),
      report.attention_ms(), report.mlp_ms(), report.vocabulary_ms(), report.sums_ms(),
      report.exchange_ms(), report.fixed_ms());
  absl::StrAppend(&text, absl::StrFormat("no placement of this model and plan takes less than "
                                         "%.3f ms on these workers (gap %.1f %%)\n",
                                         placement.lower_bound_ms(), 100 * placement.gap()));
  if (report.striped_heads() > 0) {
    absl::StrAppend(&text, report.striped_heads(),
                    report.striped_heads() == 1 ? " head is" : " heads are",
                    " split over workers, so that none waits long\n");
  }
  return text;
}

AdminView Everything(const v1::GetPlacementResponse& placed, const std::vector<WorkerPart>& parts) {
  const double step_ms = placed.placement().step_ms();
  Table table(
      {"worker", ">speed", ">busy", ">attention", ">MLP", ">slowest in", ">memory", "because"});
  AdminView view;
  view.json = {{"epoch", placed.placement().epoch()},
               {"step_ms", step_ms},
               {"lower_bound_ms", placed.placement().lower_bound_ms()},
               {"gap", placed.placement().gap()},
               {"workers", OutputJson::array()}};
  for (const WorkerPart& part : parts) {
    view.json["workers"].push_back(PartJson(part, step_ms));
    table.Row({part.share->worker_id(), FormatPercent(part.speed),
               FormatPercent(step_ms > 0 ? part.busy_ms() / step_ms : 0),
               absl::StrFormat("%.3f ms", part.attention_ms),
               absl::StrFormat("%.3f ms", part.mlp_ms),
               absl::StrCat(part.slowest_layers, " layers"), FormatPercent(part.memory),
               ReasonOf(part, step_ms)});
    absl::StrAppend(&view.names, part.share->worker_id(), "\n");
  }
  view.table = absl::StrCat(Summary(placed), table.Text());
  view.wide = view.table;
  return view;
}

AdminView OneWorker(const v1::GetPlacementResponse& placed, const WorkerPart& part,
                    const v1::WorkerTimes& times) {
  const double step_ms = placed.placement().step_ms();
  Table table({">layer", ">heads", ">attention", ">MLP columns", ">MLP"});
  for (uint32_t layer = 0; layer < placed.layers(); ++layer) {
    const auto heads = std::count_if(part.share->heads().begin(), part.share->heads().end(),
                                     [layer](const auto& head) { return head.layer() == layer; });
    const v1::Range& columns = part.share->mlp_columns(layer);
    table.Row({absl::StrCat(layer), absl::StrCat(heads),
               absl::StrFormat("%.3f ms", times.attention_ms(layer)),
               FormatCount(columns.end() - columns.begin()),
               absl::StrFormat("%.3f ms", times.mlp_ms(layer))});
  }
  AdminView view;
  view.json = PartJson(part, step_ms);
  view.names = part.share->worker_id() + "\n";
  view.table = absl::StrCat(part.share->worker_id(), ": ", ReasonOf(part, step_ms), "\n",
                            absl::StrFormat("busy %.3f of %.3f ms; ", part.busy_ms(), step_ms),
                            "memory ", FormatBytes(part.share->weights_bytes()), " weights, ",
                            FormatBytes(part.share->cache_bytes()), " caches, ",
                            FormatBytes(part.share->scratch_bytes()), " scratch of ",
                            FormatBytes(part.share->memory_bytes()), " (",
                            FormatPercent(part.memory), ")\n", table.Text());
  view.wide = view.table;
  return view;
}

struct HeadName {
  uint32_t layer = 0;
  uint32_t head = 0;
};

std::optional<HeadName> ParseHead(const std::string& about) {
  HeadName name;
  const char* end = about.data() + about.size();
  const auto layer = std::from_chars(about.data(), end, name.layer);
  if (layer.ec != std::errc() || layer.ptr == end || *layer.ptr != '.') return std::nullopt;
  const auto head = std::from_chars(layer.ptr + 1, end, name.head);
  if (head.ec != std::errc() || head.ptr != end) return std::nullopt;
  return name;
}

absl::StatusOr<AdminView> OneHead(const v1::GetPlacementResponse& placed, const HeadName& name) {
  AdminView view;
  view.json = {{"layer", name.layer}, {"head", name.head}, {"holders", OutputJson::array()}};
  std::string holders;
  for (int rank = 0; rank < placed.placement().workers_size(); ++rank) {
    const v1::WorkerShare& share = placed.placement().workers(rank);
    const v1::WorkerTimes& times = placed.report().workers(rank);
    for (const v1::HeadShare& head : share.heads()) {
      if (head.layer() != name.layer || head.head() != name.head) continue;
      const uint32_t parts = std::max<uint32_t>(head.stripe_count(), 1);
      view.json["role"] = head.retrieval() ? "retrieval" : "local";
      view.json["policy"] = head.policy();
      view.json["holders"].push_back({{"id", share.worker_id()},
                                      {"stripe", {head.stripe_index(), parts}},
                                      {"layer_ms", times.attention_ms(name.layer)}});
      absl::StrAppend(&holders, share.worker_id(),
                      parts > 1
                          ? absl::StrCat(", pages of stripe ", head.stripe_index(), " of ", parts)
                          : ", all of its pages",
                      absl::StrFormat("; its attention in this layer takes %.3f ms\n",
                                      times.attention_ms(name.layer)));
      absl::StrAppend(&view.names, share.worker_id(), "\n");
    }
  }
  if (holders.empty()) {
    return absl::NotFoundError(absl::StrCat("no head ", name.layer, ".", name.head,
                                            ": the model has ", placed.layers(), " layers of ",
                                            placed.kv_heads(), " heads"));
  }
  view.table = absl::StrCat("layer ", name.layer, " head ", name.head, ": ",
                            view.json["role"].get<std::string>(), ", policy ",
                            view.json["policy"].get<std::string>(), "\n", holders);
  view.wide = view.table;
  return view;
}

}  // namespace

absl::StatusOr<AdminView> ExplainPlacement(const v1::GetPlacementResponse& placed,
                                           const v1::ListWorkersResponse& workers,
                                           const std::string& about) {
  const v1::PlacementReport& report = placed.report();
  const int layers = static_cast<int>(placed.layers());
  const bool complete =
      report.workers_size() == placed.placement().workers_size() && report.workers_size() > 0 &&
      std::all_of(report.workers().begin(), report.workers().end(), [layers](const auto& times) {
        return times.attention_ms_size() == layers && times.mlp_ms_size() == layers;
      });
  if (!complete) return absl::FailedPreconditionError("the server sent no report with it");
  if (const std::optional<HeadName> head = ParseHead(about)) return OneHead(placed, *head);
  const std::vector<WorkerPart> parts = PartsOf(placed, workers);
  if (about.empty()) return Everything(placed, parts);
  for (size_t rank = 0; rank < parts.size(); ++rank) {
    if (parts[rank].share->worker_id() == about) {
      return OneWorker(placed, parts[rank], report.workers(static_cast<int>(rank)));
    }
  }
  return absl::NotFoundError(
      absl::StrCat("the placement has no worker ", about, ", and a head is LAYER.HEAD"));
}

}  // namespace headlong
