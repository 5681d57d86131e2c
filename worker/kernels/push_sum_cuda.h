// Sums of few numbers between GPUs that reach each other's memory: every rank writes its numbers
// into a slot that each of the others keeps for it, waits until theirs have come, and adds all up
// in the order of the ranks, so that every rank gets the same bits. One launch, no flag: a word
// that is not there yet is -0.0 (Lamport's way); senders make +0.0 of a -0.0, and receivers put
// -0.0 back.
//
// Two sets of slots are used in turns. A rank writes into a set again after a sum in the other one,
// which it got from every rank, each of which had emptied the first set before it sent.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace headlong::cuda {

inline constexpr int kMaxPushRanks = 8;
inline constexpr int64_t kMaxPushFloats = int64_t{1} << 18;  // 1 MiB

// Floats of the memory a rank has: [2 sets][rank that writes][kMaxPushFloats].
inline int64_t PushFloats(int world) { return 2 * world * kMaxPushFloats; }

struct PushSum {
  float* x = nullptr;  // [count], becomes the sum; 16-byte aligned
  int64_t count = 0;   // at most kMaxPushFloats, the same on every rank
  int rank = 0;
  int world = 1;
  float* slots[kMaxPushRanks] = {};  // the memory of each rank, as this GPU reaches it
  unsigned* turns = nullptr;         // of this rank: 0 before the first sum
  const int* abandoned = nullptr;    // not 0: the sum will not be had, the kernel ends
};

// Empties the slots of this rank. No other may write before it is done.
cudaError_t LaunchEmptySlots(float* slots, int64_t floats, cudaStream_t stream);

// Bytes: each rank sends and gets (world - 1) * count * 4.
void RunPushSum(const PushSum& sum, cudaStream_t stream);

}  // namespace headlong::cuda
