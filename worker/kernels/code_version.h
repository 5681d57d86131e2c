// Which of the architectures that the kernels are compiled for is in use, and what it offers.
#pragma once

namespace headlong::cuda {

// Of the code that the driver chose for the current GPU: 80, 86, 89, 90, 100 or 120. Code for an
// earlier architecture may be in use where a build has none for the GPU's own. Asked once.
int CodeVersion();

// The one a kernel is being compiled for; in the host's pass the first target.
#ifdef __CUDA_ARCH__
inline constexpr int kCodeVersion = __CUDA_ARCH__ / 10;
#else
inline constexpr int kCodeVersion = 90;
#endif

// wgmma, tensor maps, registers that warpgroups hand over: of 90a alone.
constexpr bool HasWarpgroupProducts(int code) { return code == 90; }
// Blocks that read each other's shared memory; launches that overlap the one before.
constexpr bool HasClusters(int code) { return code >= 90; }

// Shared memory of a multiprocessor in KiB, of which each block costs one more than it asks for
// ("Technical Specifications per Compute Capability", CUDA C++ Programming Guide).
constexpr int SharedKibibytes(int code) {
  if (code == 90 || code == 100) return 228;
  return code == 80 ? 164 : 100;
}

}  // namespace headlong::cuda
