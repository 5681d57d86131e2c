// The backend in use and the weights on it. Kept across epochs and sessions; a change of the number
// type makes both anew. One owner: the step thread.
#pragma once

#include <memory>
#include <optional>

#include "cache/storage.h"
#include "worker/backend.h"
#include "worker/backend_cpu.h"
#include "worker/weights.h"

namespace headlong {

class Device {
 public:
  void Use(Storage storage) {
    if (storage_ == storage) return;
    weights_ = Weights();
    backend_ = MakeCpuBackend(storage);
    storage_ = storage;
  }
  // REQUIRES: Use was called.
  Backend& backend() { return *backend_; }
  Weights& weights() { return weights_; }

 private:
  std::optional<Storage> storage_;
  std::unique_ptr<Backend> backend_;
  Weights weights_;  // after the backend: goes first
};

}  // namespace headlong
