#include "worker/kernels/attention_tile.h"

#include "worker/kernels/tile_rows.h"

namespace headlong::cpu::HEADLONG_ISA {

void AttendTile(const AttentionTile& tile, TileScratch& scratch) {
  tile.rows <= kFewRows ? AttendFewRows(tile, scratch) : AttendPanels(tile, scratch);
}

}  // namespace headlong::cpu::HEADLONG_ISA
