// Rows of keys or values as codes, for the tests of kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "cache/row_format.h"

namespace headlong::cpu {

// Rows [begin, end) of `raw` as codes, in memory of their own.
inline Row Coded(const std::vector<float>& raw, const RowFormat& format,
                 std::pair<int64_t, int64_t> range, std::vector<std::vector<std::byte>>& memory) {
  const auto [begin, end] = range;
  memory.emplace_back((end - begin) * format.bytes());
  const Row rows = RowsIn(memory.back().data(), format, end - begin);
  for (int64_t row = begin; row < end; ++row) {
    EncodeRow(&raw[row * format.dims], format, rows.At(format, row - begin));
  }
  return rows;
}

}  // namespace headlong::cpu
