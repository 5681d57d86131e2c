// The builds of AttendTile, one per instruction set, and the scratch they work in.
#pragma once

#include <cstdint>

#include "cache/lane_storage.h"
#include "worker/kernels/attention_cpu.h"
#include "worker/kernels/isa.h"

namespace headlong::cpu {

inline constexpr int kBlockKeys = 96;     // keys scored at a time, from as many runs as it takes
inline constexpr int kMaxPanelRows = 32;  // rows that share registers: at most two vectors
inline constexpr int kFewRows = 8;        // up to here lanes run along head_dim

// Up to kBlockKeys keys, each of which a row sees, of one type; so are the values. What lies behind
// `count` is of an earlier block, or null.
struct KeyBlock {
  int count = 0;
  Storage key_type = Storage::kFloat32;
  Storage value_type = Storage::kFloat32;
  bool masked = false;              // a row does not see all of them
  int32_t window = 0;               // a row sees the offsets in (its own - window, its own]
  int32_t offset[kBlockKeys] = {};  // position less the tile's first, at least kFarthest
  const std::byte* key[kBlockKeys + 3] = {};  // rows are fetched four at a time
  const std::byte* value[kBlockKeys] = {};
  const uint16_t* key_scales[kBlockKeys] = {};  // of codes
  const uint16_t* value_scales[kBlockKeys] = {};
};

// About 460 KiB; one per thread. Contents mean nothing between tiles.
struct alignas(64) TileScratch {
  float q[kMaxTileRows * kMaxHeadDim];
  float out[kMaxTileRows * kMaxHeadDim];
  float keys[kBlockKeys * kMaxHeadDim];  // fp32 copies of a block of keys in another type
  float values[kBlockKeys * kMaxHeadDim];
  float scores[kMaxPanelRows * (kBlockKeys + 32)];
  float max[kMaxTileRows];
  float sum[kMaxTileRows];
  int32_t row_offset[kMaxTileRows];  // position of a row less the tile's first
  float slope[kMaxTileRows];         // of a row, where the tile has slopes
  KeyBlock blocks[2];
};

using AttendTileFunction = void (*)(const AttentionTile& tile, TileScratch& scratch);

namespace generic {
void AttendTile(const AttentionTile& tile, TileScratch& scratch);
}
namespace avx2 {
void AttendTile(const AttentionTile& tile, TileScratch& scratch);
}
namespace avx512 {
void AttendTile(const AttentionTile& tile, TileScratch& scratch);
}

// REQUIRES: IsaSupported(isa), for the function to be called.
AttendTileFunction AttendTileFor(Isa isa);

// The calling thread's scratch, taken on its first tile.
TileScratch& ThreadTileScratch();

}  // namespace headlong::cpu
