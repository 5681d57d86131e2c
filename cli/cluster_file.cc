#include "cli/cluster_file.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <set>
#include <string>
#include <utility>

#include "common/json.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr int64_t kMaxWorkers = 4096;
constexpr int64_t kMaxMemory = int64_t{1} << 60;

absl::Status CheckFields(const Json& object, std::initializer_list<const char*> known,
                         const std::string& what) {
  if (!object.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": must be an object, is ", JsonExcerpt(object)));
  }
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": unknown field ", JsonExcerpt(Json(key))));
    }
  }
  return absl::OkStatus();
}

// `above_zero`: a rate; else a duration, which may be 0.
absl::StatusOr<double> Amount(const Json& object, const std::string& key, bool above_zero,
                              const std::string& what) {
  ASSIGN_OR_RETURN(const double value, JsonNumber(object, key, what));
  if (std::isfinite(value) && (above_zero ? value >= 1 : value >= 0)) return value;
  return absl::InvalidArgumentError(absl::StrCat(
      what, ": ", key, ": must be ", above_zero ? "at least 1" : "at least 0", ", is ", value));
}

absl::Status AddWorkers(const Json& entry, const std::string& what, SimulatedCluster& cluster) {
  RETURN_IF_ERROR(CheckFields(
      entry,
      {"id", "memory_bytes", "bandwidth_bytes_per_s", "weight_bytes_per_s", "flops", "count"},
      what));
  PlacementWorker worker;
  worker.device = "simulated";
  ASSIGN_OR_RETURN(worker.id, JsonString(entry, "id", what));
  ASSIGN_OR_RETURN(worker.memory_bytes, JsonInt(entry, "memory_bytes", 1, kMaxMemory, what));
  ASSIGN_OR_RETURN(worker.read_bytes_per_s,
                   Amount(entry, "bandwidth_bytes_per_s", /*above_zero=*/true, what));
  for (const auto& [field, rate] : {std::pair("weight_bytes_per_s", &worker.weight_bytes_per_s),
                                    std::pair("flops", &worker.matmul_flops)}) {
    if (!entry.contains(field)) continue;
    ASSIGN_OR_RETURN(*rate, Amount(entry, field, /*above_zero=*/true, what));
  }
  if (!entry.contains("count")) {
    cluster.workers.push_back(worker);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const int64_t count, JsonInt(entry, "count", 1, kMaxWorkers, what));
  const std::string name = worker.id;
  for (int64_t i = 0; i < count; ++i) {
    if (count > 1) worker.id = absl::StrCat(name, "-", i);
    cluster.workers.push_back(worker);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SimulatedCluster> ParseCluster(std::string_view text, std::string_view source) {
  ASSIGN_OR_RETURN(const Json root, ParseJson(text, source));
  const std::string what(source);
  RETURN_IF_ERROR(CheckFields(root, {"workers", "link"}, what));
  const auto workers = root.find("workers");
  if (workers == root.end() || !workers->is_array() || workers->empty()) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": workers: must be a list, not empty"));
  }
  SimulatedCluster cluster;
  for (size_t i = 0; i < workers->size(); ++i) {
    RETURN_IF_ERROR(AddWorkers((*workers)[i], absl::StrCat(what, ": workers[", i, "]"), cluster));
    if (static_cast<int64_t>(cluster.workers.size()) > kMaxWorkers) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": more than ", kMaxWorkers, " workers"));
    }
  }
  std::set<std::string> ids;
  for (const PlacementWorker& worker : cluster.workers) {
    if (ids.insert(worker.id).second) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": two workers have the id ", JsonExcerpt(Json(worker.id))));
  }
  if (const auto link = root.find("link"); link != root.end()) {
    const std::string where = absl::StrCat(what, ": link");
    RETURN_IF_ERROR(CheckFields(*link, {"sum_latency_s", "bandwidth_bytes_per_s"}, where));
    ASSIGN_OR_RETURN(cluster.link.sum_latency_s,
                     Amount(*link, "sum_latency_s", /*above_zero=*/false, where));
    if (link->contains("bandwidth_bytes_per_s")) {
      ASSIGN_OR_RETURN(cluster.link.bytes_per_s,
                       Amount(*link, "bandwidth_bytes_per_s", /*above_zero=*/true, where));
    }
  }
  return cluster;
}

absl::StatusOr<SimulatedCluster> ReadClusterFile(const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseCluster(text, path.string());
}

}  // namespace headlong
