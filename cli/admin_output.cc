#include "cli/admin_output.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/quantity.h"
#include "cli/table.h"

namespace headlong {
namespace {

OutputJson RefusedJson(const v1::ListWorkersResponse& workers) {
  OutputJson json = OutputJson::array();
  for (const v1::RefusedWorker& refused : workers.refused()) {
    json.push_back({{"id", refused.id()},
                    {"address", refused.host()},
                    {"reason", refused.reason()},
                    {"version", refused.version()},
                    {"times", refused.times()},
                    {"age_s", refused.age_s()}});
  }
  return json;
}

std::string RefusedText(const v1::ListWorkersResponse& workers) {
  std::string text;
  for (const v1::RefusedWorker& refused : workers.refused()) {
    absl::StrAppend(&text, "refused   ", refused.id(), " of ", refused.host(), ", ",
                    FormatMillis(refused.age_s() * 1e3), " ago: ", refused.reason(), "\n");
  }
  return text;
}

// "busy" and "in sums": shares of the time in steps.
std::string ShareOf(double part, double other) {
  return part + other > 0 ? FormatPercent(part / (part + other)) : "-";
}

std::string VersionOf(const std::string& version) { return version.empty() ? "?" : version; }

// Lines of "name  value", the names as wide as the widest.
std::string Lines(const std::vector<std::pair<std::string, std::string>>& lines) {
  size_t width = 0;
  for (const auto& [name, value] : lines) width = std::max(width, name.size());
  std::string text;
  for (const auto& [name, value] : lines) {
    absl::StrAppend(&text, name, std::string(width - name.size() + 2, ' '), value, "\n");
  }
  return text;
}

double TokensPerSecond(const v1::RequestState& request) {
  const double decode_ms = request.age_ms() - request.first_token_ms();
  if (request.completion_tokens() < 2 || request.first_token_ms() <= 0 || decode_ms <= 0) return 0;
  return (request.completion_tokens() - 1) / decode_ms * 1e3;
}

std::string RateText(double tokens_per_second) {
  return tokens_per_second > 0 ? absl::StrFormat("%.1f", tokens_per_second) : "-";
}

}  // namespace

bool CanServe(const v1::GetClusterResponse& cluster) { return cluster.state() == "serving"; }

OutputJson ClusterJson(const v1::GetClusterResponse& cluster) {
  OutputJson json;
  json["state"] = cluster.state();
  json["can_serve"] = CanServe(cluster);
  json["reason"] = cluster.reason();
  json["model"] = cluster.model();
  json["epoch"] = cluster.epoch();
  json["workers_expected"] = cluster.workers_expected();
  json["workers_ready"] = cluster.workers_ready();
  json["requests_running"] = cluster.requests_running();
  json["requests_waiting"] = cluster.requests_waiting();
  json["cache_bytes_used"] = cluster.cache_bytes_used();
  json["cache_bytes_reserved"] = cluster.cache_bytes_reserved();
  json["recoveries"] = cluster.recoveries();
  json["sequences_moved"] = cluster.sequences_moved();
  json["sequences_replayed"] = cluster.sequences_replayed();
  json["weights_bytes_loaded"] = cluster.weights_bytes_loaded();
  json["weights_bytes_total"] = cluster.weights_bytes_total();
  json["steps"] = cluster.steps();
  json["last_step_ms"] = cluster.last_step_ms();
  json["step_seconds"] = cluster.step_seconds();
  json["step_tokens"] = cluster.step_tokens();
  json["tokens_sampled"] = cluster.tokens_sampled();
  json["preemptions"] = cluster.preemptions();
  json["uptime_s"] = cluster.uptime_s();
  json["version"] = cluster.version();
  json["wire_protocol"] = cluster.wire_protocol();
  return json;
}

AdminView ClusterView(const v1::GetClusterResponse& cluster,
                      const v1::ListWorkersResponse& workers) {
  std::string text = absl::StrCat("state     ", cluster.state(),
                                  cluster.reason().empty() ? "" : ": ", cluster.reason(), "\n");
  absl::StrAppend(&text, "model     ", cluster.model(), "\n");
  absl::StrAppend(&text, "workers   ", cluster.workers_ready(), " of ", cluster.workers_expected(),
                  " ready, epoch ", cluster.epoch(), ", ", cluster.recoveries(),
                  cluster.recoveries() == 1 ? " recovery\n" : " recoveries\n");
  if (cluster.state() == "loading") {
    absl::StrAppend(&text, "weights   ", FormatBytes(cluster.weights_bytes_loaded()), " of ",
                    FormatBytes(cluster.weights_bytes_total()), " loaded\n");
  }
  absl::StrAppend(&text, "requests  ", cluster.requests_running(), " running, ",
                  cluster.requests_waiting(), " waiting\n");
  absl::StrAppend(&text, "moves     ", cluster.sequences_moved(), " sequences moved live, ",
                  cluster.sequences_replayed(), " computed again\n");
  absl::StrAppend(&text, "cache     ", FormatBytes(cluster.cache_bytes_used()), " of ",
                  FormatBytes(cluster.cache_bytes_reserved()), " used\n");
  absl::StrAppend(&text, "steps     ", FormatCount(cluster.steps()), ", the last took ",
                  FormatMillis(cluster.last_step_ms()), "\n");
  AdminView view;
  view.json = ClusterJson(cluster);
  view.json["refused_workers"] = RefusedJson(workers);
  view.table = absl::StrCat(text, RefusedText(workers));
  absl::StrAppend(&text, "tokens    ", FormatCount(cluster.step_tokens()), " computed, ",
                  FormatCount(cluster.tokens_sampled()), " sampled, ", cluster.preemptions(),
                  " preemptions\n");
  absl::StrAppend(&text, "program   ", VersionOf(cluster.version()), ", protocol ",
                  cluster.wire_protocol(), ", up ", FormatMillis(cluster.uptime_s() * 1e3), "\n");
  view.wide = absl::StrCat(text, RefusedText(workers));
  view.names = cluster.state() + "\n";
  return view;
}

OutputJson WorkerJson(const v1::Worker& worker) {
  OutputJson entry;
  entry["id"] = worker.id();
  entry["address"] = worker.address();
  entry["pid"] = worker.pid();
  entry["state"] = worker.state();
  entry["device"] = worker.device();
  entry["epoch"] = worker.epoch();
  entry["memory_bytes"] = worker.memory_bytes();
  entry["cache_bytes_used"] = worker.cache_bytes_used();
  entry["heads"] = worker.heads();
  entry["read_bytes_per_s"] = worker.read_bytes_per_s();
  entry["matmul_flops"] = worker.matmul_flops();
  entry["matmul_flops_one_row"] = worker.matmul_flops_one_row();
  entry["compute_seconds"] = worker.compute_seconds();
  entry["collective_seconds"] = worker.collective_seconds();
  entry["version"] = worker.version();
  return entry;
}

AdminView WorkersView(const v1::ListWorkersResponse& workers) {
  const std::vector<std::string> columns{"id",      "state",       "device",   ">epoch", ">heads",
                                         ">memory", ">cache used", ">reads/s", ">pid",   "address"};
  std::vector<std::string> more = columns;
  more.insert(more.end(), {">products", ">in sums", "version"});
  Table table(columns);
  Table wide(more);
  AdminView view;
  view.json = OutputJson::array();
  for (const v1::Worker& worker : workers.workers()) {
    view.json.push_back(WorkerJson(worker));
    std::vector<std::string> row{worker.id(),
                                 worker.state(),
                                 worker.device(),
                                 absl::StrCat(worker.epoch()),
                                 absl::StrCat(worker.heads()),
                                 FormatBytes(worker.memory_bytes()),
                                 FormatBytes(worker.cache_bytes_used()),
                                 FormatBytes(static_cast<int64_t>(worker.read_bytes_per_s())),
                                 absl::StrCat(worker.pid()),
                                 worker.address()};
    table.Row(row);
    row.push_back(absl::StrFormat("%.2f TFLOP/s", worker.matmul_flops() / 1e12));
    row.push_back(ShareOf(worker.collective_seconds(), worker.compute_seconds()));
    row.push_back(VersionOf(worker.version()));
    wide.Row(row);
    absl::StrAppend(&view.names, worker.id(), "\n");
  }
  view.table = table.Text();
  view.wide = absl::StrCat(wide.Text(), RefusedText(workers));
  return view;
}

absl::StatusOr<AdminView> WorkerView(const v1::ListWorkersResponse& workers,
                                     const std::string& id) {
  for (const v1::RefusedWorker& refused : workers.refused()) {
    if (refused.id() != id) continue;
    return absl::NotFoundError(absl::StrCat("worker ", id, " of ", refused.host(), " was refused ",
                                            FormatMillis(refused.age_s() * 1e3),
                                            " ago: ", refused.reason()));
  }
  const auto found = std::find_if(workers.workers().begin(), workers.workers().end(),
                                  [&](const v1::Worker& worker) { return worker.id() == id; });
  if (found == workers.workers().end()) {
    return absl::NotFoundError(
        absl::StrCat("no worker is called ", id, "; `headlong workers list` shows who is here"));
  }
  AdminView view;
  view.json = WorkerJson(*found);
  view.names = id + "\n";
  view.table = Lines(
      {{"id", id},
       {"state", found->state()},
       {"device", found->device()},
       {"address", absl::StrCat(found->address(), ", pid ", found->pid())},
       {"version", VersionOf(found->version())},
       {"epoch", absl::StrCat(found->epoch())},
       {"heads", absl::StrCat(found->heads())},
       {"memory", FormatBytes(found->memory_bytes())},
       {"cache used", FormatBytes(found->cache_bytes_used())},
       {"reads", FormatBytes(static_cast<int64_t>(found->read_bytes_per_s())) + "/s"},
       {"products", absl::StrFormat("%.2f TFLOP/s, with one row %.2f", found->matmul_flops() / 1e12,
                                    found->matmul_flops_one_row() / 1e12)},
       {"in steps",
        absl::StrCat(FormatMillis(found->compute_seconds() * 1e3), " computing, ",
                     FormatMillis(found->collective_seconds() * 1e3), " in sums (",
                     ShareOf(found->collective_seconds(), found->compute_seconds()), ")")}});
  view.wide = view.table;
  return view;
}

OutputJson RequestJson(const v1::RequestState& request) {
  OutputJson entry;
  entry["id"] = request.request_id();
  entry["state"] = request.state();
  entry["prompt_tokens"] = request.prompt_tokens();
  entry["computed_tokens"] = request.computed_tokens();
  entry["completion_tokens"] = request.completion_tokens();
  entry["max_tokens"] = request.max_tokens();
  entry["cache_bytes"] = request.cache_bytes();
  entry["age_ms"] = request.age_ms();
  entry["queue_ms"] = request.queue_ms();
  entry["first_token_ms"] = request.first_token_ms();
  entry["tokens_per_s"] = TokensPerSecond(request);
  entry["crashes_in_a_row"] = request.crashes_in_a_row();
  return entry;
}

AdminView RequestsView(const v1::ListRequestsResponse& requests) {
  const std::vector<std::string> columns{"id",        "state",  ">prompt", ">computed",
                                         ">answered", ">cache", ">age"};
  std::vector<std::string> more = columns;
  more.insert(more.end(), {">at most", ">queued", ">first token", ">tokens/s"});
  Table table(columns);
  Table wide(more);
  AdminView view;
  view.json = OutputJson::array();
  for (const v1::RequestState& request : requests.requests()) {
    view.json.push_back(RequestJson(request));
    std::vector<std::string> row{request.request_id(),
                                 request.state(),
                                 FormatCount(request.prompt_tokens()),
                                 FormatCount(request.computed_tokens()),
                                 FormatCount(request.completion_tokens()),
                                 FormatBytes(request.cache_bytes()),
                                 FormatMillis(request.age_ms())};
    table.Row(row);
    row.push_back(FormatCount(request.max_tokens()));
    row.push_back(FormatMillis(request.queue_ms()));
    row.push_back(request.first_token_ms() > 0 ? FormatMillis(request.first_token_ms()) : "-");
    row.push_back(RateText(TokensPerSecond(request)));
    wide.Row(row);
    absl::StrAppend(&view.names, request.request_id(), "\n");
  }
  view.table = table.Text();
  view.wide = wide.Text();
  return view;
}

absl::StatusOr<AdminView> RequestView(const v1::ListRequestsResponse& requests,
                                      const std::string& id) {
  const auto found =
      std::find_if(requests.requests().begin(), requests.requests().end(),
                   [&](const v1::RequestState& request) { return request.request_id() == id; });
  if (found == requests.requests().end()) {
    return absl::NotFoundError(absl::StrCat("no request \"", id, "\" is queued or running"));
  }
  AdminView view;
  view.json = RequestJson(*found);
  view.names = id + "\n";
  const uint32_t tokens = found->prompt_tokens() + found->completion_tokens();
  view.table =
      Lines({{"id", id},
             {"state", found->state()},
             {"prompt", absl::StrCat(FormatCount(found->prompt_tokens()), " tokens")},
             {"computed", absl::StrCat(FormatCount(found->computed_tokens()), " of ",
                                       FormatCount(tokens), " tokens")},
             {"answered", absl::StrCat(FormatCount(found->completion_tokens()), " of at most ",
                                       FormatCount(found->max_tokens()), " tokens, ",
                                       RateText(TokensPerSecond(*found)), " a second")},
             {"cache", FormatBytes(found->cache_bytes())},
             {"age", FormatMillis(found->age_ms())},
             {"queued", FormatMillis(found->queue_ms())},
             {"first token", found->first_token_ms() > 0
                                 ? absl::StrCat("after ", FormatMillis(found->first_token_ms()))
                                 : "not yet"},
             {"crashes", absl::StrCat(found->crashes_in_a_row(), " of workers in a row")}});
  view.wide = view.table;
  return view;
}

}  // namespace headlong
