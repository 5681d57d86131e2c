// A run of consecutive keys and values of one lane, as caches hand them out and kernels read them.
// Plain, so that kernels compiled for one processor include nothing else.
#pragma once

#include <cstddef>
#include <cstdint>

namespace headlong {

// `count` consecutive positions from `position` on: contiguous rows, and beside them their scales
// where they are codes (cache/row_format.h). Rows without scales are plain numbers of the lane's.
struct KeyRun {
  const std::byte* keys = nullptr;
  const std::byte* values = nullptr;
  int64_t position = 0;
  int64_t count = 0;
  const uint16_t* key_scales = nullptr;
  const uint16_t* value_scales = nullptr;
};

}  // namespace headlong
