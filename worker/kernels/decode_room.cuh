// Shared memory of a decode kernel: items, states, and a ring of loads on their way, as deep as the
// multiprocessor has room for.
#pragma once

#include "worker/kernels/code_version.h"
#include "worker/kernels/decode_loads.cuh"

namespace headlong::cuda {

template <typename TheStates, typename Blocks, int kHeadDim, int kMostSlots>
struct DecodeRoom {
  using States = TheStates;
  static constexpr int kItemBytes = kStagedItems * static_cast<int>(sizeof(DecodeItem));
  static constexpr int kStateBytes = States::kFloats * 4;
  static_assert(kItemBytes % 16 == 0 && kStateBytes % 16 == 0);

  // Of the ring, with so many CTAs on a multiprocessor.
  static constexpr int Slots(int code, int ctas) {
    const int bytes = SharedKibibytes(code) * 1024 / ctas - 1024;  // 1 KiB is the system's
    const int room = (bytes - kItemBytes - kStateBytes) / Ring<Blocks, 1>::kBytes;
    return room < kMostSlots ? room : kMostSlots;
  }
  // Two CTAs where head_dim lets them have a ring deep enough. 0: there is not even room for one.
  static constexpr int Ctas(int code) {
    if (kHeadDim <= 128 && Slots(code, 2) >= 3) return 2;
    return Slots(code, 1) >= 3 ? 1 : 0;
  }

  // Of the code that is being compiled.
  static constexpr int kCtas = Ctas(kCodeVersion);
  static constexpr int kSlots = kCtas > 0 ? Slots(kCodeVersion, kCtas) : 3;

  // Of the code in use. No entry where it has no room.
  static DecodeKernel KernelOf(void (*entry)(DecodeAttention)) {
    const int code = CodeVersion(), ctas = Ctas(code);
    if (ctas == 0) return {};
    return {entry, ctas, kItemBytes + kStateBytes + Slots(code, ctas) * Ring<Blocks, 1>::kBytes};
  }
};

}  // namespace headlong::cuda
