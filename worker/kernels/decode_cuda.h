// Decode attention over unequal lanes on a GPU: one launch for all sequences and heads of a layer,
// whatever each lane holds, and one that merges the lanes that were cut (decode_plan.h). CPU twin:
// attention_cpu.h.
//
// The compensation token is the initial state of the online softmax of a lane's first part:
// logit q.(sum of keys / N_d) * scale + ln N_d, value (sum of values / N_d).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "worker/kernels/decode_plan.h"

namespace headlong::cuda {

enum class ElementType { kFloat32, kBfloat16, kFloat16 };

// What caches of such numbers store.
__host__ __device__ inline Storage StorageOf(ElementType type) {
  return type == ElementType::kFloat32    ? Storage::kFloat32
         : type == ElementType::kBfloat16 ? Storage::kBfloat16
                                          : Storage::kFloat16;
}

inline constexpr int kMaxGroup = 16;

// What a kernel is built for. head_dim: 64, 80, 96, 128 or 256; group 1 .. kMaxGroup.
struct DecodeShape {
  ElementType type = ElementType::kBfloat16;
  int head_dim = 128;
  int group = 1;  // query heads per KV head
  // What rows hold: head_dim numbers of `type`, or as many as the lane says, of these types.
  bool plain = true;
  Storage keys = Storage::kBfloat16, values = Storage::kBfloat16;
};

// One launch. All pointers are device memory, alive until the stream has passed it. Work, merges
// and lengths are read on the device: a captured graph may be replayed with another plan of at most
// as many merges.
struct DecodeAttention {
  DecodeShape shape;
  float scale = 1.0f;       // 1 / sqrt(head_dim) as a rule
  const void* q = nullptr;  // [rows][head_dim], in the type of the caches
  float* out = nullptr;     // [rows][head_dim]
  float* lse = nullptr;     // [rows], natural log of the softmax denominator
  const DecodeItem* items = nullptr;
  const int32_t* cta_items = nullptr;  // [ctas + 1]
  int ctas = 0;
  const DecodeMerge* merges = nullptr;  // [merge_count]; entries of count 0 are passed over
  int merge_count = 0;
  float* part_out = nullptr;  // [parts][group][head_dim]
  float* part_lse = nullptr;  // [parts][group]
};

// How many CTAs the current device runs at once: what to plan for. 0 for a shape that no kernel is
// built for. Call it once at load: it also allows the kernel its shared memory.
int PrepareDecode(const DecodeShape& shape);

// A row that sees no key gets out = 0 and lse = -inf. Launches only; allocates nothing.
cudaError_t LaunchDecode(const DecodeAttention& decode, cudaStream_t stream);

// The items of a layer, made from those of a layer that is cut alike.
struct MovedItems {
  const DecodeItem* from = nullptr;
  const int32_t* count = nullptr;
  const LaneShift* shifts = nullptr;  // [heads]
  DecodeItem* to = nullptr;
  int32_t heads = 0;
};
struct MoveItems {
  const MovedItems* layers = nullptr;
  int layer_count = 0;
  int most_items = 0;
  int group = 1;
};
cudaError_t LaunchMoveItems(const MoveItems& move, cudaStream_t stream);

// ---- pieces, for the files that implement the above ----

// A kernel of one shape: CTAs per multiprocessor, bytes of shared memory, entry.
struct DecodeKernel {
  void (*entry)(DecodeAttention) = nullptr;
  int ctas_per_multiprocessor = 1;
  int shared_bytes = 0;
};
DecodeKernel DecodeKernelBfloat16(int head_dim, int group);
DecodeKernel DecodeKernelFloat16(int head_dim, int group);
// Of keys and values, beside queries in bf16.
DecodeKernel DecodeKernelBfloat16Bfloat16(int head_dim, int group);
DecodeKernel DecodeKernelBfloat16Float8(int head_dim, int group);
DecodeKernel DecodeKernelBfloat16Int8(int head_dim, int group);
DecodeKernel DecodeKernelBfloat16Int4(int head_dim, int group);
DecodeKernel DecodeKernelFloat8Bfloat16(int head_dim, int group);
DecodeKernel DecodeKernelFloat8Float8(int head_dim, int group);
DecodeKernel DecodeKernelFloat8Int8(int head_dim, int group);
DecodeKernel DecodeKernelFloat8Int4(int head_dim, int group);
DecodeKernel DecodeKernelInt8Bfloat16(int head_dim, int group);
DecodeKernel DecodeKernelInt8Float8(int head_dim, int group);
DecodeKernel DecodeKernelInt8Int8(int head_dim, int group);
DecodeKernel DecodeKernelInt8Int4(int head_dim, int group);
DecodeKernel DecodeKernelInt4Bfloat16(int head_dim, int group);
DecodeKernel DecodeKernelInt4Float8(int head_dim, int group);
DecodeKernel DecodeKernelInt4Int8(int head_dim, int group);
DecodeKernel DecodeKernelInt4Int4(int head_dim, int group);
DecodeKernel DecodeKernelAnyRows(const DecodeShape& shape);  // slow: of any pair of types

inline constexpr int kDecodeThreads = 128;

}  // namespace headlong::cuda
