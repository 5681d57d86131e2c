#include "cli/cluster_move.h"

#include <algorithm>

#include "cli/interrupt.h"
#include "common/status.h"

namespace headlong {

bool MoveIsDone(const ClusterMove& move, const v1::ListWorkersResponse& workers,
                const v1::GetClusterResponse& cluster) {
  if (cluster.state() != "serving") return false;
  if (move.worker_id.empty()) return cluster.epoch() > move.ended;
  const auto worker =
      std::find_if(workers.workers().begin(), workers.workers().end(),
                   [&](const v1::Worker& each) { return each.id() == move.worker_id; });
  if (worker == workers.workers().end()) return false;
  if (worker->state() == "gone") return true;
  if (!move.back) return worker->state() == "drained";
  return worker->state() == "ready" && worker->epoch() == cluster.epoch();
}

absl::Status WaitForMove(const ClusterMove& move, Client& client, Terminal& terminal) {
  const auto end = std::chrono::steady_clock::now() + move.timeout;
  Progress progress(terminal, "moving");
  while (true) {
    ASSIGN_OR_RETURN(const v1::ListWorkersResponse workers, client.ListWorkers());
    ASSIGN_OR_RETURN(const v1::GetClusterResponse cluster, client.GetCluster());
    if (MoveIsDone(move, workers, cluster)) return absl::OkStatus();
    progress.Update({static_cast<double>(cluster.weights_bytes_loaded()),
                     static_cast<double>(cluster.weights_bytes_total()), cluster.state()});
    if (std::chrono::steady_clock::now() >= end) {
      return absl::DeadlineExceededError(
          absl::StrCat("after ", move.timeout.count(), " s the cluster is still ", cluster.state(),
                       cluster.reason().empty() ? "" : ": ", cluster.reason(),
                       "; headlong cluster status shows how it goes on"));
    }
    if (!SleepUnlessInterrupted(std::chrono::milliseconds(50))) {
      return absl::CancelledError("interrupted; the move goes on");
    }
  }
}

}  // namespace headlong
