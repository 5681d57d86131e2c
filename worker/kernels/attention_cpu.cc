#include "worker/kernels/attention_cpu.h"

#include <cstdlib>
#include <memory>

#include "spdlog/spdlog.h"
#include "worker/kernels/attention_tile.h"

namespace headlong::cpu {
namespace {

bool GoodDims(int dims, const AttentionTile& tile) {
  return dims >= 8 && dims <= tile.head_dim && dims % 8 == 0;
}

void CheckShape(const AttentionTile& tile) {
  const bool good = tile.rows >= 1 && tile.rows <= kMaxTileRows && tile.group >= 1 &&
                    tile.rows % tile.group == 0 && tile.head_dim >= 8 &&
                    tile.head_dim <= kMaxHeadDim && tile.head_dim % 8 == 0 &&
                    GoodDims(tile.key_dims, tile) && GoodDims(tile.value_dims, tile);
  if (good) return;
  spdlog::critical("attention tile of {} rows, group {}, head_dim {}, dims {} and {}", tile.rows,
                   tile.group, tile.head_dim, tile.key_dims, tile.value_dims);
  std::abort();
}

}  // namespace

AttendTileFunction AttendTileFor(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return avx512::AttendTile;
  if (isa == Isa::kAvx2) return avx2::AttendTile;
#endif
  (void)isa;
  return generic::AttendTile;
}

TileScratch& ThreadTileScratch() {
  // On the heap: a thread_local array of this size would be carved out of every thread's stack.
  thread_local const std::unique_ptr<TileScratch> scratch(new TileScratch);
  return *scratch;
}

void AttendTile(const AttentionTile& tile) {
  static const AttendTileFunction attend = AttendTileFor(CurrentIsa());
  CheckShape(tile);
  attend(tile, ThreadTileScratch());
}

const char* AttentionIsa() { return IsaName(CurrentIsa()); }

}  // namespace headlong::cpu
