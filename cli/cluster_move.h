// Waiting until the cluster is where an operator sent it: a worker out of service or back in it, a
// placement in force.
#pragma once

#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "cli/client.h"
#include "cli/terminal.h"

namespace headlong {

struct ClusterMove {
  std::string worker_id;  // that was drained or let back in; empty: a placement was applied
  bool back = false;
  uint64_t ended = 0;  // the epoch in force when a placement was applied
  std::chrono::seconds timeout{300};
};

// True once the cluster serves with the worker out of it, or back in it (of a worker that is not
// there: without it), or in a later epoch than the one that ended. Pure.
bool MoveIsDone(const ClusterMove& move, const v1::ListWorkersResponse& workers,
                const v1::GetClusterResponse& cluster);

// Asks again and again. DEADLINE_EXCEEDED says how the cluster stands; CANCELLED after Ctrl-C: the
// move goes on all the same.
absl::Status WaitForMove(const ClusterMove& move, Client& client, Terminal& terminal);

}  // namespace headlong
