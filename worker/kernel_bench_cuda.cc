// `bench kernels` on a GPU.
#include <algorithm>

#include "common/status.h"
#include "worker/gpu.h"
#include "worker/kernel_bench.h"
#include "worker/kernel_cases_cuda.h"
#include "worker/kernels/bench_cuda.h"
#include "worker/kernels/cuda_handles.h"

namespace headlong {
namespace {

using cuda::CheckCuda;

constexpr int64_t kMemoryBytes = int64_t{5} << 30;
constexpr int kSize = 8192;  // of the matrix product that is the ceiling

KernelRate Measure(const cuda::KernelCaseMaker& maker, const cuda::KernelCase& one,
                   cudaStream_t stream) {
  return {maker.operation, maker.shape, one.bytes, one.flops, cuda::GraphSeconds(one, stream)};
}

// Of random numbers, on the current device.
absl::Status TakeMemory(const cudaDeviceProp& properties, const cuda::Stream& stream,
                        cuda::BenchMemory& memory) {
  memory.stream = stream.get();
  memory.multiprocessors = properties.multiProcessorCount;
  if (!cuda::DeviceArray<std::byte>::Take(kMemoryBytes, memory.memory)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the GPU has no ", kMemoryBytes, " bytes free for what kernels read"));
  }
  CheckCuda(cuda::LaunchFillRandom(memory.memory.get(), kMemoryBytes, stream.get()), "filling");
  stream.Wait();
  return absl::OkStatus();
}

cudaDeviceProp Activate(int gpu) {
  CheckCuda(cudaSetDevice(gpu), "choosing the GPU");
  cudaDeviceProp properties;
  CheckCuda(cudaGetDeviceProperties(&properties, gpu), "asking a GPU what it is");
  return properties;
}

// Reading is fastest with a number of blocks that differs between GPUs.
absl::StatusOr<KernelRate> BestRead(const cuda::BenchMemory& memory) {
  KernelRate best;
  for (const int blocks : {2, 4, 8, 16, 32}) {
    const cuda::KernelCaseMaker maker = cuda::ReadMemoryCase(memory, blocks);
    ASSIGN_OR_RETURN(const cuda::KernelCase one, maker.make());
    const KernelRate rate = Measure(maker, one, memory.stream);
    if (best.seconds == 0 || rate.seconds < best.seconds) best = rate;
  }
  return best;
}

std::vector<cuda::KernelCaseMaker> AllCases(const cuda::BenchMemory& memory) {
  std::vector<cuda::KernelCaseMaker> cases{cuda::MatMulCase(memory, kSize, kSize, kSize)};
  const auto append = [&](std::vector<cuda::KernelCaseMaker> more) {
    std::move(more.begin(), more.end(), std::back_inserter(cases));
  };
  append(cuda::DecodeCases(memory));
  append(cuda::LayerCases(memory));
  append(cuda::ProductCases(memory));
  append(cuda::ElementwiseCases(memory));
  return cases;
}

}  // namespace

absl::StatusOr<double> ReadRateCuda(int gpu) {
  const cudaDeviceProp properties = Activate(gpu);
  const cuda::Stream stream;
  cuda::BenchMemory memory;
  RETURN_IF_ERROR(TakeMemory(properties, stream, memory));
  ASSIGN_OR_RETURN(const KernelRate read, BestRead(memory));
  return read.bytes / read.seconds;
}

absl::StatusOr<KernelReport> BenchKernelsCuda(int gpu, const KernelProgress& progress) {
  ASSIGN_OR_RETURN(const DeviceChoice choice, ChooseDevice("cuda", gpu, FindGpus()));
  const cudaDeviceProp properties = Activate(choice.gpu);
  const cuda::Stream stream;
  cuda::BenchMemory memory;
  RETURN_IF_ERROR(TakeMemory(properties, stream, memory));
  KernelReport report;
  report.device = choice.name;
  report.matmul_ceiling = "cuBLASLt in bf16";
  ASSIGN_OR_RETURN(KernelRate read, BestRead(memory));
  report.rates.push_back(std::move(read));
  const std::vector<cuda::KernelCaseMaker> cases = AllCases(memory);
  for (size_t i = 0; i < cases.size(); ++i) {
    if (!progress(i, cases.size(), absl::StrCat(cases[i].operation, ", ", cases[i].shape))) {
      return absl::CancelledError("interrupted");
    }
    ASSIGN_OR_RETURN(const cuda::KernelCase one, cases[i].make());
    report.rates.push_back(Measure(cases[i], one, stream.get()));
  }
  const KernelRate& product = report.rates[1];
  report.ceilings = {report.rates[0].bytes / report.rates[0].seconds,
                     product.flops / product.seconds};
  ASSIGN_OR_RETURN(const std::vector<KernelRate> sums, cuda::MeasureSums());
  report.rates.insert(report.rates.end(), sums.begin(), sums.end());
  return report;
}

}  // namespace headlong
