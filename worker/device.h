// The backend in use and the weights on it. Kept across epochs and sessions; a change of the number
// type makes both anew. One owner: the step thread.
#pragma once

#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "cache/storage.h"
#include "worker/backend.h"
#include "worker/gpu.h"
#include "worker/probe.h"
#include "worker/weights.h"

namespace headlong {

class Device {
 public:
  // `graphs`: a GPU replays decode steps from graphs.
  explicit Device(DeviceChoice choice, bool graphs = true)
      : choice_(std::move(choice)), graphs_(graphs) {}

  absl::Status Use(Storage storage);
  // REQUIRES: Use was called.
  Backend& backend() { return *backend_; }
  Weights& weights() { return weights_; }
  KeptDistributions& kept() { return kept_; }
  const DeviceChoice& choice() const { return choice_; }

 private:
  const DeviceChoice choice_;
  const bool graphs_;
  std::optional<Storage> storage_;
  std::unique_ptr<Backend> backend_;
  KeptDistributions kept_;
  Weights weights_;  // after the backend: goes first
};

}  // namespace headlong
