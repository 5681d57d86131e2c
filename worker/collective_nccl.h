// Sums between GPUs through NCCL, one communicator per epoch. The library is opened at run time.
// Sums of up to 1 MiB go through the memory of the GPUs where all ranks can reach it (push_sums.h).
#pragma once

#include <chrono>
#include <memory>

#include "absl/status/status.h"
#include "worker/collective.h"

namespace headlong {

struct NcclOptions {
  int rank = 0;
  int world = 1;
  Sums sums = Sums::kAuto;
  std::chrono::milliseconds timeout{60000};          // of one operation
  std::chrono::milliseconds connect_timeout{20000};  // for all peers to appear
};

// OK where NCCL can be opened; NOT_FOUND says where it was looked for.
absl::Status CheckNccl();

// REQUIRES: every rank's backend is on a GPU of its own. Sums and gathers are enqueued on the
// backend's stream and not waited for. A rank that vanishes makes calls fail (UNAVAILABLE): graphs
// are dropped and the communicator is aborted. FAILED_PRECONDITION where only Sums::kPush is wanted
// and cannot be had. NVLink multicast is never used.
absl::StatusOr<std::unique_ptr<Collective>> MakeNcclCollective(const NcclOptions& options,
                                                               Rendezvous& rendezvous,
                                                               Backend& backend);

}  // namespace headlong
