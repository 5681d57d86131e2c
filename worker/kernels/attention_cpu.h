// Attention of a tile of query rows over runs of keys: one kernel for prefill and decode, full and
// local heads. Online softmax in fp32 (Milakov and Gimelshein 2018; FlashAttention's tiling).
//
// A row is one query head at one position; the `group` query heads of a KV head stand next to each
// other, so row r is position first_position + r / group. A key at position p is visible to a query
// at position m when p <= m; whatever else bounds what a head sees is said by which runs are given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "cache/key_run.h"
#include "cache/storage.h"

namespace headlong::cpu {

using AttentionRun = KeyRun;

// The compensation token: one more key and value in fp32, its logit q.k * scale + log_count. It is
// visible to every row of the tile and is the initial state of the online softmax. It has no
// position, so that slopes do not bear on it.
struct CompensationToken {
  const float* key = nullptr;    // [key_dims]; null: there is none
  const float* value = nullptr;  // [value_dims]
  float log_count = 0;           // ln(N_d)
};

struct AttentionTile {
  const float* q = nullptr;  // row r at q + (r / group) * q_stride + (r % group) * head_dim
  int64_t q_stride = 0;      // floats from one position to the next
  int rows = 0;              // 1 .. kMaxTileRows; a multiple of group
  int group = 1;
  int head_dim = 0;    // a multiple of 8, at most 256
  int key_dims = 0;    // numbers of a key, and of a query that count: a multiple of 8 <= head_dim
  int value_dims = 0;  // of a value; the rest of an output is zeros
  int64_t first_position = 0;
  float scale = 1.0f;                     // 1 / sqrt(head_dim) as a rule
  Storage key_plain = Storage::kFloat32;  // of runs without scales: numbers as they are
  Storage value_plain = Storage::kFloat32;
  Storage key_codes = Storage::kInt8;  // of runs with scales (cache/row_format.h)
  Storage value_codes = Storage::kInt8;
  const float* slopes = nullptr;  // [group]: ALiBi, logits fall by slope * (m - p); null: none
  int64_t window = 0;             // not 0: nor is a key visible unless p > m - window
  std::span<const AttentionRun> runs;
  CompensationToken compensation;
  float* out = nullptr;  // same addressing as q, with out_stride
  int64_t out_stride = 0;
  float* lse = nullptr;  // [rows], natural log of the softmax denominator; may be null
};

inline constexpr int kMaxTileRows = 64;

// Runs on the calling thread; allocates nothing (scratch is thread-local and fixed). A row that
// sees no key at all gets out = 0 and lse = -inf. Picks AVX-512, AVX2 or the portable build at run
// time.
void AttendTile(const AttentionTile& tile);

// "avx512" | "avx2" | "generic": what AttendTile runs on this machine. HEADLONG_ISA overrides.
const char* AttentionIsa();

}  // namespace headlong::cpu
