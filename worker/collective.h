// Sums and transfers between the workers of one epoch. Two implementations: Gloo (host memory) and
// NCCL (GPUs). Used by the step thread only. Every rank makes the same calls in the same order.
//
// Errors (UNAVAILABLE: a peer vanished or the time ran out) poison the object: a new epoch brings a
// new one.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/backend.h"

namespace headlong {

// How GPUs sum few numbers: through NCCL, as they sum many, through each other's memory, or so
// where it can be.
enum class Sums { kAuto, kNccl, kPush };
// "auto" | "nccl" | "push".
absl::StatusOr<Sums> SumsFromName(const std::string& name);

class Collective {
 public:
  virtual ~Collective() = default;

  // x = sum over ranks of x, `count` numbers.
  virtual absl::Status Sum(Activations x, int64_t count) = 0;

  // Memory for gathers of at most so many numbers of all ranks: once, before the first.
  virtual absl::Status PrepareGather(int64_t most) = 0;

  // Sends each rank's [rows][columns of the rank] to rank 0. `columns` by rank.
  virtual absl::Status GatherToLeader(Activations x, int rows, const std::vector<int>& columns) = 0;

  // Waits for a gather of `sent` rows of `x`. On rank 0 `out` becomes its first `rows` rows, of the
  // columns of all ranks, in host memory; elsewhere it is left alone.
  virtual absl::Status ReadGathered(Activations x, int sent, int rows,
                                    const std::vector<int>& columns, std::vector<float>& out) = 0;

  // Where a gather of `x` leaves what all ranks sent on the leader's device, rank by rank; null
  // elsewhere, and where it comes to the host.
  virtual Activations Gathered(Activations /*x*/) const { return {}; }

  // Waits for what was only enqueued.
  virtual absl::Status Wait() { return absl::OkStatus(); }

  // Whether sums and gathers only enqueue, so that a graph can hold them.
  virtual bool recordable() const { return false; }
};

// parts: rank by rank [sent][columns of the rank]. out: [rows][all columns], rows <= sent.
void PlaceParts(const float* parts, const std::vector<int>& columns, int sent, int rows,
                std::vector<float>& out);

// Where ranks find each other: a key-value store per epoch.
class Rendezvous {
 public:
  virtual ~Rendezvous() = default;
  virtual absl::Status Put(const std::string& key, const std::string& value) = 0;
  // Waits until the key is there. DEADLINE_EXCEEDED after `timeout`.
  virtual absl::StatusOr<std::string> Get(const std::string& key,
                                          std::chrono::milliseconds timeout) = 0;
  // A later epoch has begun: nobody will finish what this one waits for. From any thread.
  virtual bool Abandoned() const { return false; }
};

// One worker alone: no traffic.
std::unique_ptr<Collective> MakeSingleCollective(Backend& backend);

struct GlooOptions {
  int rank = 0;
  int world = 1;
  std::string host;                                  // address peers reach this process at
  std::chrono::milliseconds timeout{60000};          // of one operation
  std::chrono::milliseconds connect_timeout{20000};  // for all peers to appear
};
absl::StatusOr<std::unique_ptr<Collective>> MakeGlooCollective(const GlooOptions& options,
                                                               Rendezvous& rendezvous);

}  // namespace headlong
