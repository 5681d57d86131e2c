// The CPU backend: fp32 activations, packed weights on oneDNN, own attention.
#pragma once

#include <memory>

#include "worker/backend.h"

namespace headlong {

// `number_type` is that of weights and matrix products; activations are fp32.
std::unique_ptr<Backend> MakeCpuBackend(Storage number_type);

}  // namespace headlong
