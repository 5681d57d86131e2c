// What this machine can do, measured at start so that the coordinator can place work by it.
#pragma once

#include <cstdint>

namespace headlong {

struct WorkerProfile {
  double read_bytes_per_s = 0;      // all threads of this worker, from memory
  double matmul_flops = 0;          // fp32, many rows
  double matmul_flops_one_row = 0;  // the same with one row: as fast as weights are read
};

// Takes about 0.3 s and 200 MiB. Uses as many threads as OpenMP is set to.
WorkerProfile MeasureProfile();

// Host memory that is free now; 0 when the system does not say.
int64_t AvailableMemory();
// Half of it.
int64_t DefaultMemoryLimit();

}  // namespace headlong
