// How rows of keys or values lie in memory: numbers as they are, or codes with scales beside them.
// Of n rows the codes come first, [n][code_bytes], then the scales, [n][scales] in bf16. Pure.
//
// A coded number is code * scale. int8: one scale per row, the largest magnitude / 127; int4: one
// per group of 32 numbers, the largest / 7; fp8 (e4m3): one per row, the largest / 448. A scale is
// rounded up to bf16 first, so that no code is beyond its range; a code is number / scale, rounded
// to nearest even. Of an int4 group, byte j holds number j in its low and j + 16 in its high half.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cache/storage.h"

namespace headlong {

inline constexpr int kCodeGroup = 32;  // numbers that share a scale in int4

struct RowFormat {
  Storage type = Storage::kFloat32;
  int dims = 0;  // numbers in a row

  int64_t code_bytes() const {  // of one row, without its scales
    switch (type) {
      case Storage::kInt4:
        return scales() * int64_t{kCodeGroup / 2};
      case Storage::kInt8:
      case Storage::kFloat8:
        return dims;
      default:
        return int64_t{dims} * ElementBytes(type);
    }
  }
  int scales() const {  // of one row
    if (type == Storage::kInt4) return (dims + kCodeGroup - 1) / kCodeGroup;
    return IsCoded(type) ? 1 : 0;
  }
  int64_t bytes() const { return code_bytes() + int64_t{2} * scales(); }
  friend bool operator==(const RowFormat&, const RowFormat&) = default;
};

// What one lane stores of a token. Where it is coded, the first `sinks` positions are kept apart,
// as plain numbers: every query looks at them, and they are few. Those are of the cache's own type
// on a side (keys, values) that is coded.
struct LaneFormat {
  RowFormat keys;
  RowFormat values;
  Storage own = Storage::kFloat32;
  int64_t sinks = 0;

  Storage PlainType(const RowFormat& side) const { return IsCoded(side.type) ? own : side.type; }
  RowFormat sink_keys() const { return {PlainType(keys), keys.dims}; }
  RowFormat sink_values() const { return {PlainType(values), values.dims}; }
  int64_t token_bytes() const { return keys.bytes() + values.bytes(); }
  int64_t sink_bytes() const { return sinks * (sink_keys().bytes() + sink_values().bytes()); }
  // Of a token of a step, before it is written: with a plain row beside a coded one.
  int64_t new_token_bytes() const {
    return token_bytes() + (sinks > 0 ? sink_keys().bytes() + sink_values().bytes() : 0);
  }
  int64_t sum_floats() const { return int64_t{keys.dims} + values.dims; }
  friend bool operator==(const LaneFormat&, const LaneFormat&) = default;
};

// Keys and values of `dims` numbers, stored as they are.
inline LaneFormat PlainFormat(Storage storage, int dims) {
  return {{storage, dims}, {storage, dims}, storage, 0};
}

// One row's codes and scales (null where it has none), or the first of several rows' in a row.
struct Row {
  std::byte* codes = nullptr;
  uint16_t* scales = nullptr;

  Row At(const RowFormat& format, int64_t index) const {
    return {codes + index * format.code_bytes(),
            scales == nullptr ? nullptr : scales + index * format.scales()};
  }
};

// Of `count` rows in one piece of memory.
Row RowsIn(std::byte* memory, const RowFormat& format, int64_t count);

// `count` rows after one another. Neither touches the other's memory.
void CopyRows(const RowFormat& format, Row from, int64_t count, Row to);

void EncodeRow(const float* numbers, const RowFormat& format, Row out);
void DecodeRow(const std::byte* codes, const uint16_t* scales, const RowFormat& format,
               float* out);  // [dims]

}  // namespace headlong
