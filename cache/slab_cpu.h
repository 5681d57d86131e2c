// The memory of one lane class on a CPU worker: pages of keys and values, the fp32 sums of what
// local lanes dropped, and the plain first tokens of coded lanes. Taken once at load. Not
// thread-safe for the same (page, lane) or (slot, lane); different lanes may be used from different
// threads.
//
// Layout: [page][lane][K|V], each page_tokens rows of its format (cache/row_format.h); sums
// [slot][lane][K|V][dims] fp32; first tokens [slot][lane][K|V][sinks][dims]. One slot per running
// sequence.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "cache/block_table.h"
#include "cache/row_format.h"
#include "common/huge_array.h"

namespace headlong {

struct SlabShape {
  int32_t pages = 0;
  int lanes = 0;
  int page_tokens = 0;
  LaneFormat format = {};
  int sum_slots = 0;   // 0 where the class does not compensate
  int sink_slots = 0;  // 0 where no first tokens stay plain
};

class SlabCpu {
 public:
  // RESOURCE_EXHAUSTED with the bytes asked for when the memory is not to be had.
  static absl::StatusOr<SlabCpu> Create(const SlabShape& shape);

  const SlabShape& shape() const { return shape_; }
  int64_t bytes() const;  // of all there is

  // First of page_tokens rows.
  Row keys(int32_t page, int lane);
  Row values(int32_t page, int lane);
  // First of `sinks` plain rows.
  Row sink_keys(int slot, int lane);
  Row sink_values(int slot, int lane);
  // Sum of dropped keys, then of dropped values.
  float* sums(int slot, int lane);
  // Zeroes the sums of a slot for all lanes, for a sequence that begins.
  void ResetSums(int slot);

 private:
  int64_t LanePageBytes() const { return shape_.page_tokens * shape_.format.token_bytes(); }

  SlabShape shape_;
  HugeArray<std::byte> pages_;
  std::unique_ptr<float[]> sums_;
  std::unique_ptr<std::byte[]> sinks_;
};

}  // namespace headlong
