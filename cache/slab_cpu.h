// The memory of one lane class on a CPU worker: pages of keys and values, and the fp32 sums of what
// local lanes dropped. Taken once at load. Not thread-safe for the same (page, lane) or (slot,
// lane); different lanes may be used from different threads.
//
// Layout: [page][lane][K|V][page_tokens][head_dim], element type = storage; sums
// [slot][lane][K|V][head_dim] fp32, one slot per running sequence.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "cache/block_table.h"
#include "cache/storage.h"
#include "common/huge_array.h"

namespace headlong {

struct SlabShape {
  int32_t pages = 0;
  int lanes = 0;
  int page_tokens = 0;
  int head_dim = 0;
  int sum_slots = 0;  // 0 where the class does not compensate
  Storage storage = Storage::kFloat32;
};

class SlabCpu {
 public:
  // RESOURCE_EXHAUSTED with the bytes asked for when the memory is not to be had.
  static absl::StatusOr<SlabCpu> Create(const SlabShape& shape);

  const SlabShape& shape() const { return shape_; }
  int64_t bytes() const;  // pages and sums

  // First of page_tokens x head_dim elements.
  std::byte* keys(int32_t page, int lane);
  std::byte* values(int32_t page, int lane);
  // 2 x head_dim floats: sum of dropped keys, then of dropped values.
  float* sums(int slot, int lane);
  // Zeroes the sums of a slot for all lanes, for a sequence that begins.
  void ResetSums(int slot);

 private:
  SlabShape shape_;
  HugeArray<std::byte> pages_;
  std::unique_ptr<float[]> sums_;
};

}  // namespace headlong
