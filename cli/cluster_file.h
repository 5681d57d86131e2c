// A cluster that is not at hand, as a file:
//   {"workers":[{"id":"a","memory_bytes":N,"bandwidth_bytes_per_s":X,"weight_bytes_per_s":X,
//                "flops":X,"count":N},..],
//    "link":{"sum_latency_s":X,"bandwidth_bytes_per_s":X}}
// A worker needs the first three; `count` workers are alike, named a-0, a-1, ... What is absent is
// as in PlacementWorker; without `link` sums cost what PlacementLink says.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/placement.h"

namespace headlong {

struct SimulatedCluster {
  std::vector<PlacementWorker> workers;
  PlacementLink link;
};

// INVALID_ARGUMENT names the entry, the field, its value and its range; NOT_FOUND the file.
absl::StatusOr<SimulatedCluster> ReadClusterFile(const std::filesystem::path& path);
absl::StatusOr<SimulatedCluster> ParseCluster(std::string_view text, std::string_view source);

}  // namespace headlong
