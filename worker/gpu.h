// The GPUs of this machine, and which device a worker computes on. Finding and measuring ask the
// driver; choosing is pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/profile.h"

namespace headlong {

struct Gpu {
  int index = 0;  // as the CUDA runtime counts
  std::string name;
  std::string uuid;  // hex: tells GPUs of all machines apart
  int64_t memory_bytes = 0;
  std::string refusal;  // why this build has no code for it; empty: it has
};

// UNAVAILABLE without a usable driver or GPU, UNIMPLEMENTED in a build without GPU support; the
// message says which.
absl::StatusOr<std::vector<Gpu>> FindGpus();

// What GPU code this build holds, as CMake names architectures; empty: none.
std::string GpuArchitectures();

// What a worker runs on.
struct DeviceChoice {
  int gpu = -1;      // -1: the CPU
  std::string name;  // for people: "cpu", "cuda:0 NVIDIA H200"
  std::string uuid;  // of the GPU
  bool cuda() const { return gpu >= 0; }
};

// `device`: "auto" | "cpu" | "cuda". `index`: of a GPU, -1: the first that can be used. Only "auto"
// falls back to the CPU, and only where no index is given.
absl::StatusOr<DeviceChoice> ChooseDevice(const std::string& device, int index,
                                          const absl::StatusOr<std::vector<Gpu>>& gpus);

// Whether code built for `architectures` (CMake's names with commas: "80-real,90a-real,120") runs
// on a GPU of compute capability major.minor. Pure.
bool RunsOn(const std::string& architectures, int major, int minor);

// Reads and products are timed on the GPU. NOT_FOUND when cuBLASLt is not installed.
absl::StatusOr<WorkerProfile> MeasureGpu(int gpu);

struct GpuMemory {
  int64_t free_bytes = 0;
  int64_t total_bytes = 0;
};
GpuMemory GpuMemoryNow(int gpu);

// What a worker may take when nobody says: of what is free, its part of the GPU shared by `sharing`
// workers, less what libraries take beside it. Pure.
int64_t DefaultGpuLimit(const GpuMemory& memory, int sharing);

}  // namespace headlong
