#include "cache/slab_cpu.h"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <new>

#include "cache/check.h"
#include "common/status.h"

namespace headlong {
namespace {

using cache_internal::Check;

constexpr int64_t kMostBytes = int64_t{1} << 46;  // half of what a process can address on x86-64

// Product of non-negative factors; the largest int64_t when it is larger.
int64_t SaturatedProduct(std::initializer_list<int64_t> factors) {
  int64_t product = 1;
  for (int64_t factor : factors) {
    if (__builtin_mul_overflow(product, factor, &product)) {
      product = std::numeric_limits<int64_t>::max();
    }
  }
  return product;
}

int64_t PageTableBytes(const SlabShape& shape) {
  return SaturatedProduct(
      {shape.pages, shape.lanes, shape.page_tokens, shape.format.token_bytes()});
}

int64_t SumsBytes(const SlabShape& shape) {
  return SaturatedProduct(
      {shape.sum_slots, shape.lanes, shape.format.sum_floats(), int64_t{sizeof(float)}});
}

int64_t SinksBytes(const SlabShape& shape) {
  return SaturatedProduct({shape.sink_slots, shape.lanes, shape.format.sink_bytes()});
}

}  // namespace

absl::StatusOr<SlabCpu> SlabCpu::Create(const SlabShape& shape) {
  Check(shape.pages >= 0 && shape.lanes > 0 && shape.page_tokens > 0 &&
            shape.format.keys.dims > 0 && shape.sum_slots >= 0,
        "a slab has a shape");
  const int64_t page_bytes = PageTableBytes(shape);
  const int64_t sum_bytes = SumsBytes(shape);
  const int64_t sink_bytes = SinksBytes(shape);
  const auto refused = [&] {
    return absl::ResourceExhaustedError(
        absl::StrCat("cache: ", page_bytes, " bytes for ", shape.pages, " pages and ", sum_bytes,
                     " bytes for sums of ", shape.lanes, " lanes cannot be had"));
  };
  if (std::max({page_bytes, sum_bytes, sink_bytes}) > kMostBytes) return refused();

  SlabCpu slab;
  slab.shape_ = shape;
  if (page_bytes > 0) {
    slab.pages_ = TakeHugeArray<std::byte>(page_bytes);
    if (slab.pages_ == nullptr) return refused();
  }
  if (sum_bytes > 0) {
    slab.sums_.reset(new (std::nothrow) float[sum_bytes / sizeof(float)]());
    if (slab.sums_ == nullptr) return refused();
  }
  if (sink_bytes > 0) {
    slab.sinks_.reset(new (std::nothrow) std::byte[sink_bytes]);
    if (slab.sinks_ == nullptr) return refused();
  }
  return slab;
}

int64_t SlabCpu::bytes() const {
  return PageTableBytes(shape_) + SumsBytes(shape_) + SinksBytes(shape_);
}

Row SlabCpu::keys(int32_t page, int lane) {
  Check(page >= 0 && page < shape_.pages && lane >= 0 && lane < shape_.lanes,
        "a page and a lane of this slab");
  std::byte* first = pages_.get() + (int64_t{page} * shape_.lanes + lane) * LanePageBytes();
  return RowsIn(first, shape_.format.keys, shape_.page_tokens);
}

Row SlabCpu::values(int32_t page, int lane) {
  std::byte* first = keys(page, lane).codes + shape_.page_tokens * shape_.format.keys.bytes();
  return RowsIn(first, shape_.format.values, shape_.page_tokens);
}

Row SlabCpu::sink_keys(int slot, int lane) {
  Check(slot >= 0 && slot < shape_.sink_slots && lane >= 0 && lane < shape_.lanes,
        "a slot and a lane of this slab");
  return {sinks_.get() + (int64_t{slot} * shape_.lanes + lane) * shape_.format.sink_bytes(),
          nullptr};
}

Row SlabCpu::sink_values(int slot, int lane) {
  const LaneFormat& format = shape_.format;
  return {sink_keys(slot, lane).codes + format.sinks * format.sink_keys().bytes(), nullptr};
}

float* SlabCpu::sums(int slot, int lane) {
  Check(slot >= 0 && slot < shape_.sum_slots && lane >= 0 && lane < shape_.lanes,
        "a slot and a lane of this slab");
  return sums_.get() + (int64_t{slot} * shape_.lanes + lane) * shape_.format.sum_floats();
}

void SlabCpu::ResetSums(int slot) {
  std::fill_n(sums(slot, 0), shape_.lanes * shape_.format.sum_floats(), 0.0f);
}

}  // namespace headlong
