// A run of consecutive keys and values of one lane, as caches hand them out and kernels read them.
// Plain, so that kernels compiled for one processor include nothing else.
#pragma once

#include <cstddef>
#include <cstdint>

namespace headlong {

// `count` consecutive positions from `position` on: contiguous rows of head_dim elements of the
// storage type.
struct KeyRun {
  const std::byte* keys = nullptr;
  const std::byte* values = nullptr;
  int64_t position = 0;
  int64_t count = 0;
};

}  // namespace headlong
