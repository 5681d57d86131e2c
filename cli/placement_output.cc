#include "cli/placement_output.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/head_map.h"
#include "cli/quantity.h"
#include "cli/table.h"

namespace headlong {
namespace {

int64_t Size(const v1::Range& range) {
  return static_cast<int64_t>(range.end()) - static_cast<int64_t>(range.begin());
}

OutputJson RangeJson(const v1::Range& range) {
  return OutputJson::array({range.begin(), range.end()});
}

OutputJson HeadJson(const v1::HeadShare& head) {
  OutputJson entry;
  entry["layer"] = head.layer();
  entry["head"] = head.head();
  entry["role"] = head.retrieval() ? "retrieval" : "local";
  entry["policy"] = head.policy();
  // Proto's default means the same as 1: not split.
  entry["stripe"] =
      OutputJson::array({head.stripe_index(), std::max<uint32_t>(head.stripe_count(), 1)});
  return entry;
}

OutputJson ShareJson(const v1::WorkerShare& share, const v1::WorkerTimes* times) {
  OutputJson json;
  json["id"] = share.worker_id();
  json["device"] = share.device();
  json["memory_bytes"] = share.memory_bytes();
  json["weights_bytes"] = share.weights_bytes();
  json["cache_bytes"] = share.cache_bytes();
  json["scratch_bytes"] = share.scratch_bytes();
  json["heads"] = OutputJson::array();
  for (const v1::HeadShare& head : share.heads()) json["heads"].push_back(HeadJson(head));
  json["mlp_columns"] = OutputJson::array();
  json["mlp_column_ranges"] = OutputJson::array();
  for (const v1::Range& columns : share.mlp_columns()) {
    json["mlp_columns"].push_back(Size(columns));
    json["mlp_column_ranges"].push_back(RangeJson(columns));
  }
  json["vocab_rows"] = Size(share.vocab_rows());
  json["vocab_row_range"] = RangeJson(share.vocab_rows());
  json["class_pages"] = share.class_pages();
  if (times != nullptr) {
    json["attention_ms"] = times->attention_ms();
    json["mlp_ms"] = times->mlp_ms();
    json["vocabulary_ms"] = times->vocabulary_ms();
  }
  return json;
}

void AddReport(const v1::PlacementReport& report, OutputJson& json) {
  json["workload"] = {{"context", report.context()},
                      {"concurrency", report.concurrency()},
                      {"prefill_share", report.prefill_share()}};
  json["max_context"] = report.max_context();
  json["sequences"] = report.sequences();
  json["required_sequences"] = report.required_sequences();
  json["largest_context"] = report.largest_context();
  json["largest_concurrency"] = report.largest_concurrency();
  json["attention_ms"] = report.attention_ms();
  json["exchange_ms"] = report.exchange_ms();
  json["mlp_ms"] = report.mlp_ms();
  json["vocabulary_ms"] = report.vocabulary_ms();
  json["fixed_ms"] = report.fixed_ms();
  json["sums_ms"] = report.sums_ms();
  json["striped_heads"] = report.striped_heads();
}

void AddTimes(const v1::WorkerTimes& times, std::vector<std::string>& row) {
  double attention_ms = 0;
  double mlp_ms = 0;
  for (const double ms : times.attention_ms()) attention_ms += ms;
  for (const double ms : times.mlp_ms()) mlp_ms += ms;
  for (const double ms : {attention_ms, mlp_ms, times.vocabulary_ms()}) {
    row.push_back(absl::StrFormat("%.3f ms", ms));
  }
}

}  // namespace

OutputJson PlacementJson(const v1::Placement& placement, const v1::PlacementReport& report) {
  OutputJson json;
  json["epoch"] = placement.epoch();
  json["step_ms"] = placement.step_ms();
  json["lower_bound_ms"] = placement.lower_bound_ms();
  json["gap"] = placement.gap();
  const bool reported = report.workers_size() == placement.workers_size() && report.context() > 0;
  if (reported) AddReport(report, json);
  json["workers"] = OutputJson::array();
  for (int i = 0; i < placement.workers_size(); ++i) {
    json["workers"].push_back(
        ShareJson(placement.workers(i), reported ? &report.workers(i) : nullptr));
  }
  return json;
}

std::string PlacementNames(const v1::Placement& placement) {
  std::string names;
  for (const v1::WorkerShare& share : placement.workers()) {
    absl::StrAppend(&names, share.worker_id(), "\n");
  }
  return names;
}

std::string PlacementText(const v1::Placement& placement, const v1::PlacementReport& report,
                          bool wide) {
  std::vector<std::string> columns{"worker",       "device",           ">retrieval", ">local",
                                   ">MLP columns", ">vocabulary rows", ">weights",   ">cache",
                                   ">scratch",     ">memory"};
  const bool timed = wide && report.workers_size() == placement.workers_size();
  if (timed) columns.insert(columns.end(), {">attention", ">MLP", ">vocabulary"});
  Table table(columns);
  for (int rank = 0; rank < placement.workers_size(); ++rank) {
    const v1::WorkerShare& share = placement.workers(rank);
    const auto [retrieval, local] = CountRoles(share);
    int64_t mlp_columns = 0;
    for (const v1::Range& range : share.mlp_columns()) mlp_columns += Size(range);
    std::vector<std::string> row{share.worker_id(),
                                 share.device(),
                                 absl::StrCat(retrieval),
                                 absl::StrCat(local),
                                 FormatCount(mlp_columns),
                                 FormatCount(Size(share.vocab_rows())),
                                 FormatBytes(share.weights_bytes()),
                                 FormatBytes(share.cache_bytes()),
                                 FormatBytes(share.scratch_bytes()),
                                 FormatBytes(share.memory_bytes())};
    if (timed) AddTimes(report.workers(rank), row);
    table.Row(row);
  }
  std::string text = absl::StrCat(
      table.Text(),
      absl::StrFormat("epoch %u: a decode step is modelled to take %.3f ms, at least %.3f ms "
                      "(gap %.1f %%)\n",
                      placement.epoch(), placement.step_ms(), placement.lower_bound_ms(),
                      100 * placement.gap()));
  if (report.context() == 0) return text;
  absl::StrAppend(&text, absl::StrFormat("workload: %.4g sequences of %s tokens",
                                         report.concurrency(), FormatCount(report.context())));
  if (report.prefill_share() > 0) {
    absl::StrAppend(&text, ", prompts ", FormatPercent(report.prefill_share()), " of a step");
  }
  absl::StrAppend(
      &text,
      absl::StrFormat("\nattention %.3f ms, exchange %.3f ms, MLP %.3f ms, vocabulary %.3f ms, "
                      "sums %.3f ms, fixed %.3f ms; %u %s split\n",
                      report.attention_ms(), report.exchange_ms(), report.mlp_ms(),
                      report.vocabulary_ms(), report.sums_ms(), report.fixed_ms(),
                      report.striped_heads(),
                      report.striped_heads() == 1 ? "head is" : "heads are"),
      absl::StrFormat("holds %.2f sequences of %s tokens", report.sequences(),
                      FormatCount(report.max_context())));
  if (report.largest_context() > 0) {
    absl::StrAppend(&text, "; with ", report.required_sequences(), " the largest context is ",
                    FormatCount(report.largest_context()), ", of this context ",
                    FormatCount(report.largest_concurrency()), " fit");
  }
  return text + "\n";
}

}  // namespace headlong
