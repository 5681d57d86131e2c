#include "cli/top_view.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/admin_output.h"
#include "cli/quantity.h"
#include "cli/table.h"
#include "cli/terminal.h"

namespace headlong {
namespace {

constexpr size_t kMaxRequests = 12;  // shown; the longest running ones

// Between two looks; nothing where they do not tell.
struct Rates {
  std::optional<double> sampled_per_s, computed_per_s, steps_per_s, step_ms;
};

bool Comparable(const TopView& view) {
  return view.before && view.now.at_s > view.before->at_s &&
         view.now.cluster.steps() >= view.before->cluster.steps() &&
         view.now.cluster.uptime_s() >= view.before->cluster.uptime_s();
}

Rates RatesOf(const TopView& view) {
  Rates rates;
  if (!Comparable(view)) return rates;
  const v1::GetClusterResponse& now = view.now.cluster;
  const v1::GetClusterResponse& before = view.before->cluster;
  const double seconds = view.now.at_s - view.before->at_s;
  const double steps = static_cast<double>(now.steps() - before.steps());
  rates.sampled_per_s = (now.tokens_sampled() - before.tokens_sampled()) / seconds;
  rates.computed_per_s = (now.step_tokens() - before.step_tokens()) / seconds;
  rates.steps_per_s = steps / seconds;
  if (steps > 0) rates.step_ms = (now.step_seconds() - before.step_seconds()) * 1e3 / steps;
  return rates;
}

// Shares of the time between the looks that a worker computed and was in sums; a worker that came
// anew meanwhile has none.
struct WorkerLoad {
  std::optional<double> computing, in_sums;
};

WorkerLoad LoadOf(const TopView& view, const v1::Worker& worker) {
  WorkerLoad load;
  if (!Comparable(view)) return load;
  const auto& earlier = view.before->workers.workers();
  const auto before = std::find_if(earlier.begin(), earlier.end(), [&](const v1::Worker& each) {
    return each.id() == worker.id() && each.pid() == worker.pid();
  });
  if (before == earlier.end() || worker.compute_seconds() < before->compute_seconds()) return load;
  const double seconds = view.now.at_s - view.before->at_s;
  load.computing = (worker.compute_seconds() - before->compute_seconds()) / seconds;
  load.in_sums = (worker.collective_seconds() - before->collective_seconds()) / seconds;
  return load;
}

OutputJson Optional(const std::optional<double>& value) {
  return value ? OutputJson(*value) : OutputJson(nullptr);
}

std::string Share(const std::optional<double>& value) {
  return value ? FormatPercent(*value) : "-";
}

std::string Rate(const std::optional<double>& value) {
  if (!value) return "-";
  return *value < 100 ? absl::StrFormat("%.1f", *value)
                      : FormatCount(static_cast<int64_t>(*value + 0.5));
}

std::string Heading(const TopView& view) {
  const v1::GetClusterResponse& cluster = view.now.cluster;
  const Rates rates = RatesOf(view);
  const std::string state = Styled(cluster.state(), CanServe(cluster) ? "32" : "31", view.colour);
  std::string text =
      absl::StrCat(cluster.model(), " at ", view.server, "  ", state, "  epoch ", cluster.epoch(),
                   "  up ", FormatMillis(cluster.uptime_s() * 1e3), "\n");
  if (!cluster.reason().empty()) absl::StrAppend(&text, cluster.reason(), "\n");
  absl::StrAppend(&text, "workers   ", cluster.workers_ready(), " of ", cluster.workers_expected(),
                  " ready   requests  ", cluster.requests_running(), " running, ",
                  cluster.requests_waiting(), " waiting\n");
  absl::StrAppend(&text, "tokens/s  ", Rate(rates.sampled_per_s), " sampled, ",
                  Rate(rates.computed_per_s), " computed   steps/s  ", Rate(rates.steps_per_s),
                  rates.step_ms ? absl::StrFormat(" of %.2f ms", *rates.step_ms) : "", "\n");
  const double reserved = static_cast<double>(cluster.cache_bytes_reserved());
  absl::StrAppend(
      &text, "cache     ", FormatBytes(cluster.cache_bytes_used()), " of ",
      FormatBytes(cluster.cache_bytes_reserved()),
      reserved > 0 ? absl::StrCat(" (", FormatPercent(cluster.cache_bytes_used() / reserved), ")")
                   : "",
      "\n");
  return text;
}

std::string WorkersTable(const TopView& view) {
  Table table({"worker", "state", "device", ">computing", ">in sums", ">cache", ">heads"});
  for (const v1::Worker& worker : view.now.workers.workers()) {
    const WorkerLoad load = LoadOf(view, worker);
    table.Row({worker.id(), worker.state(), worker.device(), Share(load.computing),
               Share(load.in_sums), FormatBytes(worker.cache_bytes_used()),
               absl::StrCat(worker.heads())});
  }
  return table.Text();
}

std::vector<v1::RequestState> OldestFirst(const v1::ListRequestsResponse& requests) {
  std::vector<v1::RequestState> sorted(requests.requests().begin(), requests.requests().end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.age_ms() > b.age_ms(); });
  return sorted;
}

std::string RequestsTable(const TopView& view) {
  const std::vector<v1::RequestState> requests = OldestFirst(view.now.requests);
  if (requests.empty()) return "no requests\n";
  Table table({"request", "state", ">prompt", ">answered", ">cache", ">age"});
  for (size_t i = 0; i < std::min(requests.size(), kMaxRequests); ++i) {
    const v1::RequestState& request = requests[i];
    table.Row({request.request_id(), request.state(), FormatCount(request.prompt_tokens()),
               FormatCount(request.completion_tokens()), FormatBytes(request.cache_bytes()),
               FormatMillis(request.age_ms())});
  }
  std::string text = table.Text();
  if (requests.size() > kMaxRequests) {
    absl::StrAppend(&text, "and ", requests.size() - kMaxRequests, " more\n");
  }
  return text;
}

// Cut at the view's width; escape codes take no column.
std::string Fit(const std::string& text, int width) {
  std::string out;
  int column = 0;
  bool escaped = false;
  for (const char c : text) {
    const bool begins_character = (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    if (c == '\n') column = 0;
    if (c == '\x1b') escaped = true;
    if (c == '\n' || escaped) {
      out += c;
      escaped = escaped && c != 'm';
      continue;
    }
    column += begins_character ? 1 : 0;
    if (column <= width) out += c;
  }
  return out;
}

}  // namespace

OutputJson TopJson(const TopView& view) {
  const Rates rates = RatesOf(view);
  OutputJson json;
  json["cluster"] = ClusterJson(view.now.cluster);
  json["sampled_tokens_per_s"] = Optional(rates.sampled_per_s);
  json["computed_tokens_per_s"] = Optional(rates.computed_per_s);
  json["steps_per_s"] = Optional(rates.steps_per_s);
  json["step_ms"] = Optional(rates.step_ms);
  json["workers"] = OutputJson::array();
  for (const v1::Worker& worker : view.now.workers.workers()) {
    const WorkerLoad load = LoadOf(view, worker);
    OutputJson entry = WorkerJson(worker);
    entry["computing"] = Optional(load.computing);
    entry["in_sums"] = Optional(load.in_sums);
    json["workers"].push_back(std::move(entry));
  }
  json["requests"] = OutputJson::array();
  for (const v1::RequestState& request : OldestFirst(view.now.requests)) {
    json["requests"].push_back(RequestJson(request));
  }
  return json;
}

std::string TopText(const TopView& view) {
  return Fit(absl::StrCat(Heading(view), "\n", WorkersTable(view), "\n", RequestsTable(view)),
             view.width);
}

}  // namespace headlong
