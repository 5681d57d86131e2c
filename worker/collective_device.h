// Which collective the workers of an epoch use, by where they compute.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "worker/collective.h"
#include "worker/gpu.h"

namespace headlong {

// A collective of the host's memory for a backend whose memory is elsewhere: numbers are copied to
// the host and back. Waits in every sum.
std::unique_ptr<Collective> MakeStagedCollective(std::unique_ptr<Collective> host,
                                                 Backend& backend);

// Every rank says through `rendezvous` where it computes. NCCL where each has a GPU of its own and
// can open the library; else Gloo, staged where this rank computes on a GPU. One rank: no traffic.
// All ranks come to the same choice. `sums` is for GPUs.
absl::StatusOr<std::unique_ptr<Collective>> ConnectWorkers(const GlooOptions& options,
                                                           const DeviceChoice& device, Sums sums,
                                                           Rendezvous& rendezvous,
                                                           Backend& backend);

}  // namespace headlong
