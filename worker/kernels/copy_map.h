// What Hopper's copy engine must know of rows in memory to bring many into shared memory by itself,
// swizzled as the matrix units read them (a tensor map: CUDA's driver API).
#pragma once

#include <cstddef>
#include <cstdint>

#include "worker/kernels/append_cuda.h"

namespace headlong::cuda {

// As the device reads it: four coordinates are column, row, keys or values, and last what the rest
// is counted in. A copy takes 64 columns of 64 rows.
struct CopyMap {
  alignas(64) std::byte bytes[128];
};

// Both: of plain rows of 16-bit numbers, whichever. False where there is no map: head_dim is no
// multiple of 64, or driver or device have none.

// Of the pages of a lane class: row of a page, 2 * lane + (0 keys, 1 values), page. False, too,
// where rows or the size of pages are others. REQUIRES: lane_class is set; pages: how many.
bool MakePageMap(const DeviceClass& lane_class, int64_t pages, int head_dim, CopyMap& map);

// Of new rows of lanes that are plain: row, 0 keys or 1 values, head.
bool MakeRowMap(const FreshRows& rows, int heads, int head_dim, CopyMap& map);

}  // namespace headlong::cuda
