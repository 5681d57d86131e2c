// Waiting until a worker that was drained or let back in is out of service, or in it.
#pragma once

#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "cli/client.h"
#include "cli/terminal.h"

namespace headlong {

struct WorkerMove {
  std::string worker_id;
  bool back = false;
  std::chrono::seconds timeout{300};
};

// True once the cluster serves with the worker out of it, or back in it; of a worker that is not
// there: without it. Pure.
bool MoveIsDone(const WorkerMove& move, const v1::ListWorkersResponse& workers,
                const v1::GetClusterResponse& cluster);

// Asks again and again. DEADLINE_EXCEEDED says how the cluster stands; CANCELLED after Ctrl-C: the
// move goes on all the same.
absl::Status WaitForMove(const WorkerMove& move, Client& client, Terminal& terminal);

}  // namespace headlong
