// What a build without CUDA's compiler, or without the headers of its libraries, says of GPUs.
#include "worker/backend_cuda.h"
#include "worker/collective_nccl.h"
#include "worker/gpu.h"
#include "worker/kernel_bench.h"

namespace headlong {
namespace {

absl::Status NotBuilt() {
  return absl::UnimplementedError("this build computes on CPUs only: it was made without CUDA");
}

}  // namespace

absl::StatusOr<std::vector<Gpu>> FindGpus() { return NotBuilt(); }
std::string GpuArchitectures() { return ""; }
absl::StatusOr<WorkerProfile> MeasureGpu(int) { return NotBuilt(); }
GpuMemory GpuMemoryNow(int) { return {}; }
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(Storage, int, bool) { return NotBuilt(); }
absl::StatusOr<KernelReport> BenchKernelsCuda(int, const KernelProgress&) { return NotBuilt(); }
absl::StatusOr<double> ReadRateCuda(int) { return NotBuilt(); }
absl::Status CheckNccl() { return NotBuilt(); }
absl::StatusOr<std::unique_ptr<Collective>> MakeNcclCollective(const NcclOptions&, Rendezvous&,
                                                               Backend&) {
  return NotBuilt();
}

}  // namespace headlong
