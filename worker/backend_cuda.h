// The CUDA backend: fp32 activations, weights in bf16 or fp32, products through cuBLASLt and a
// kernel of our own, own attention. One stream. A failed call in a step ends the process: whoever
// supervises the worker starts it again.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "worker/backend.h"

namespace headlong {

// `gpu`: index as the CUDA runtime counts. `storage` is the type of caches and weights; fp32 sums
// products without TF32. `graphs`: decode steps are replayed from graphs. NOT_FOUND when cuBLASLt
// is not installed, naming where it was looked for; UNIMPLEMENTED in a build without GPU support.
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(Storage storage, int gpu, bool graphs);

}  // namespace headlong
