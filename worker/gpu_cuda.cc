// What gpu.h asks the driver for.
#include <cuda_runtime_api.h>

#include <algorithm>

#include "common/status.h"
#include "worker/gpu.h"
#include "worker/kernels/cuda_handles.h"
#include "worker/kernels/matmul_cuda.h"

namespace headlong {
namespace {

constexpr int64_t kReadBytes = int64_t{512} << 20;  // several times the L2 cache
constexpr int kMatrixSize = 4096;
constexpr int kTrials = 4;  // the first one warms up

// Best of several runs, in seconds.
template <typename Work>
double BestSeconds(cudaStream_t stream, Work work) {
  cudaEvent_t begin, end;
  cuda::CheckCuda(cudaEventCreate(&begin), "an event");
  cuda::CheckCuda(cudaEventCreate(&end), "an event");
  float best_ms = 1e30f;
  for (int trial = 0; trial < kTrials; ++trial) {
    cuda::CheckCuda(cudaEventRecord(begin, stream), "an event");
    work();
    cuda::CheckCuda(cudaEventRecord(end, stream), "an event");
    cuda::CheckCuda(cudaEventSynchronize(end), "measuring");
    float ms = 0;
    cuda::CheckCuda(cudaEventElapsedTime(&ms, begin, end), "measuring");
    best_ms = std::min(best_ms, ms);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return best_ms / 1e3;
}

std::string Hex(const cudaUUID_t& uuid) {
  std::string text;
  for (const char byte : uuid.bytes) {
    absl::StrAppend(&text, absl::Hex(static_cast<unsigned char>(byte), absl::kZeroPad2));
  }
  return text;
}

}  // namespace

std::string GpuArchitectures() { return HEADLONG_CUDA_ARCHITECTURES; }

absl::StatusOr<std::vector<Gpu>> FindGpus() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    return absl::UnavailableError(
        absl::StrCat("no GPU can be used: ", error == cudaSuccess ? "the driver knows of none"
                                                                  : cudaGetErrorString(error)));
  }
  std::vector<Gpu> gpus;
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties;
    cuda::CheckCuda(cudaGetDeviceProperties(&properties, index), "asking a GPU what it is");
    Gpu gpu{index, properties.name, Hex(properties.uuid),
            static_cast<int64_t>(properties.totalGlobalMem), ""};
    if (!RunsOn(HEADLONG_CUDA_ARCHITECTURES, properties.major, properties.minor)) {
      gpu.refusal = absl::StrCat("compute capability ", properties.major, ".", properties.minor,
                                 ", this build has code for " HEADLONG_CUDA_ARCHITECTURES);
    }
    gpus.push_back(std::move(gpu));
  }
  return gpus;
}

absl::StatusOr<WorkerProfile> MeasureGpu(int gpu) {
  cuda::CheckCuda(cudaSetDevice(gpu), "choosing the GPU");
  const cuda::Stream stream;
  ASSIGN_OR_RETURN(const auto matmul, cuda::MatMul::Create(stream.get()));
  WorkerProfile profile;
  cuda::DeviceArray<std::byte> memory;
  if (!cuda::DeviceArray<std::byte>::Take(2 * kReadBytes, memory)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the GPU has no ", 2 * kReadBytes, " bytes free to measure its memory with"));
  }
  memory.FillBytes(0x3c);  // bf16 and fp32 of about 0.01
  // A copy reads and writes: bytes twice.
  const double copy = BestSeconds(stream.get(), [&] {
    cuda::CheckCuda(cudaMemcpyAsync(memory.get(), memory.get() + kReadBytes, kReadBytes,
                                    cudaMemcpyDeviceToDevice, stream.get()),
                    "measuring");
  });
  profile.read_bytes_per_s = 2.0 * kReadBytes / copy;
  cuda::Product product;
  product.weights = memory.get();
  product.x = memory.get() + kReadBytes / 2;
  product.y = reinterpret_cast<float*>(memory.get() + kReadBytes);
  product.outputs = product.inputs = product.rows = kMatrixSize;
  product.pitch = kMatrixSize;
  const double seconds = BestSeconds(stream.get(), [&] { matmul->Run(product); });
  profile.matmul_flops = 2.0 * kMatrixSize * kMatrixSize * kMatrixSize / seconds;
  return profile;
}

GpuMemory GpuMemoryNow(int gpu) {
  cuda::CheckCuda(cudaSetDevice(gpu), "choosing the GPU");
  size_t free = 0, total = 0;
  cuda::CheckCuda(cudaMemGetInfo(&free, &total), "asking for free memory");
  return {static_cast<int64_t>(free), static_cast<int64_t>(total)};
}

}  // namespace headlong
