// Attention of prompts' chunks on a GPU: tiles of query rows over what each can see, in pages and
// in the step's own rows, full and local lanes in one launch. Online softmax in fp32
// (FlashAttention-2, Dao 2023, arXiv 2307.08691). CPU twin: attention_cpu.h.
//
// A tile's row r is position first + r / group, query head r % group: all query heads of a KV head
// share the keys that are loaded. The compensation token is the initial state of the softmax, one
// per row, since queries of a tile may see different ones.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "worker/kernels/append_cuda.h"

namespace headlong::cuda {

struct PrefillAttention {
  LayerLanes lanes;
  float scale = 1.0f;                  // 1 / sqrt(head_dim) as a rule
  const void* q = nullptr;             // [rows][heads * group][head_dim], in the caches' type
  float* out = nullptr;                // [rows][heads * group][head_dim]
  float* lse = nullptr;                // [rows][heads * group], or null: not wanted
  const PrefillTile* tiles = nullptr;  // those with most work first
  int tile_count = 0;
  int32_t* work = nullptr;  // [2], zeros when a launch begins and when it has ended
  bool plain_lanes = true, other_lanes = false;  // which kinds of DeviceClass::plain there are
  // Of lanes as WidenLanes leaves them, with the chunks and classes that describe those.
  bool widened = false;
  int head_begin = 0, head_end = kAllHeads;

  static constexpr int kAllHeads = 1 << 30;

  // Whether a launch of kernels for plain lanes, or for the others, computes a chunk's lane.
  __host__ __device__ bool Takes(const DeviceClass& lane_class, const ChunkLanes& chunk, int head,
                                 bool plain) const {
    return lane_class.plain == plain && chunk.widened == widened && head >= head_begin &&
           head < head_end;
  }
};

// Positions of a tile; 0 for a shape that no kernel is built for. Call it once at load: it also
// allows the kernel its shared memory.
int PreparePrefill(const DecodeShape& shape);

// Launches only. REQUIRES: LaunchStore and LaunchFold of the same lanes went before.
cudaError_t LaunchPrefill(const PrefillAttention& prefill, cudaStream_t stream);

// ---- pieces, for the files that implement the above ----

struct PrefillKernel {
  void (*entry)(PrefillAttention) = nullptr;
  int threads = 0;
  int shared_bytes = 0;
  int tile_rows = 0;        // position and query head
  bool takes_work = false;  // blocks take tiles until none is left; else one each
};
// `plain`: of lanes of plain rows; the others are passed over.
PrefillKernel PrefillWgmmaBfloat16(int head_dim, bool plain);  // 64, 128, 256, on Hopper
PrefillKernel PrefillWgmmaFloat16(int head_dim, bool plain);   // of plain lanes alone
PrefillKernel PrefillMmaBfloat16(int head_dim, bool plain);    // 64, 80, 96, 128, 256
PrefillKernel PrefillMmaFloat16(int head_dim, bool plain);     // of plain lanes alone
PrefillKernel PrefillKernelFloat32(int head_dim, int group);   // of all lanes

}  // namespace headlong::cuda
