#include "cli/admin_output.h"

#include "absl/strings/str_cat.h"
#include "cli/quantity.h"
#include "cli/table.h"

namespace headlong {

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
  return json;
}

std::string ClusterText(const v1::GetClusterResponse& cluster) {
  std::string text = absl::StrCat("state     ", cluster.state(),
                                  cluster.reason().empty() ? "" : ": ", cluster.reason(), "\n");
  absl::StrAppend(&text, "model     ", cluster.model(), "\n");
  absl::StrAppend(&text, "workers   ", cluster.workers_ready(), " of ", cluster.workers_expected(),
                  " ready, epoch ", cluster.epoch(), ", ", cluster.recoveries(), " recoveries\n");
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
  return text;
}

OutputJson WorkersJson(const v1::ListWorkersResponse& workers) {
  OutputJson json = OutputJson::array();
  for (const v1::Worker& worker : workers.workers()) {
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
    json.push_back(std::move(entry));
  }
  return json;
}

std::string WorkersText(const v1::ListWorkersResponse& workers) {
  Table table({"id", "state", "device", ">epoch", ">heads", ">memory", ">cache used", ">reads/s",
               ">pid", "address"});
  for (const v1::Worker& worker : workers.workers()) {
    table.Row({worker.id(), worker.state(), worker.device(), absl::StrCat(worker.epoch()),
               absl::StrCat(worker.heads()), FormatBytes(worker.memory_bytes()),
               FormatBytes(worker.cache_bytes_used()),
               FormatBytes(static_cast<int64_t>(worker.read_bytes_per_s())),
               absl::StrCat(worker.pid()), worker.address()});
  }
  return table.Text();
}

OutputJson RequestsJson(const v1::ListRequestsResponse& requests) {
  OutputJson json = OutputJson::array();
  for (const v1::RequestState& request : requests.requests()) {
    OutputJson entry;
    entry["id"] = request.request_id();
    entry["state"] = request.state();
    entry["prompt_tokens"] = request.prompt_tokens();
    entry["computed_tokens"] = request.computed_tokens();
    entry["completion_tokens"] = request.completion_tokens();
    entry["cache_bytes"] = request.cache_bytes();
    entry["age_ms"] = request.age_ms();
    json.push_back(std::move(entry));
  }
  return json;
}

std::string RequestsText(const v1::ListRequestsResponse& requests) {
  Table table({"id", "state", ">prompt", ">computed", ">answered", ">cache", ">age"});
  for (const v1::RequestState& request : requests.requests()) {
    table.Row({request.request_id(), request.state(), FormatCount(request.prompt_tokens()),
               FormatCount(request.computed_tokens()), FormatCount(request.completion_tokens()),
               FormatBytes(request.cache_bytes()), FormatMillis(request.age_ms())});
  }
  return table.Text();
}

}  // namespace headlong
