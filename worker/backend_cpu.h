// The CPU backend: fp32 activations, packed weights on oneDNN, own attention.
#pragma once

#include <memory>

#include "worker/backend.h"

namespace headlong {

// `storage` is the type of the caches; bf16 also makes matrix products bf16.
std::unique_ptr<Backend> MakeCpuBackend(Storage storage);

}  // namespace headlong
