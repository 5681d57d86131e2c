// Sums between GPUs through NCCL, one communicator per epoch. The library is opened at run time.
#pragma once

#include <chrono>
#include <memory>

#include "absl/status/status.h"
#include "worker/collective.h"

namespace headlong {

struct NcclOptions {
  int rank = 0;
  int world = 1;
  std::chrono::milliseconds timeout{60000};          // of one operation
  std::chrono::milliseconds connect_timeout{20000};  // for all peers to appear
};

// OK where NCCL can be opened; NOT_FOUND says where it was looked for.
absl::Status CheckNccl();

// REQUIRES: every rank's backend is on a GPU of its own. Sums are enqueued on the backend's stream
// and not waited for; a gather waits. A rank that vanishes makes calls fail (UNAVAILABLE) and the
// communicator is aborted. NVLink multicast is never used.
absl::StatusOr<std::unique_ptr<Collective>> MakeNcclCollective(const NcclOptions& options,
                                                               Rendezvous& rendezvous,
                                                               Backend& backend);

}  // namespace headlong
