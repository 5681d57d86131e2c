#include "worker/device.h"

#include <utility>

#include "common/status.h"
#include "worker/backend_cpu.h"
#include "worker/backend_cuda.h"

namespace headlong {

absl::Status Device::Use(Storage storage) {
  if (storage_ == storage) return absl::OkStatus();
  storage_.reset();
  weights_ = Weights();
  backend_.reset();  // the memory of the old one goes before the new one comes
  if (choice_.cuda()) {
    ASSIGN_OR_RETURN(backend_, MakeCudaBackend(storage, choice_.gpu, graphs_));
  } else {
    backend_ = MakeCpuBackend(storage);
  }
  storage_ = storage;
  return absl::OkStatus();
}

}  // namespace headlong
