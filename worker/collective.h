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

class Collective {
 public:
  virtual ~Collective() = default;

  // x = sum over ranks of x, `count` numbers.
  virtual absl::Status Sum(Activations x, int64_t count) = 0;

  // Brings each rank's [rows][columns of the rank] together on rank 0 as [rows][total columns] in
  // host memory. `columns` by rank; `out` is used on rank 0 only. Waits for the result.
  virtual absl::Status GatherToLeader(Activations x, int rows, const std::vector<int>& columns,
                                      std::vector<float>& out) = 0;

  // Waits for what was only enqueued.
  virtual absl::Status Wait() { return absl::OkStatus(); }
};

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
