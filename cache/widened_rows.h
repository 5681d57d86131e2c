// The room that workers on GPUs have for rows of 16 bits that codes become before a prompt's chunk
// attends to them: once for all its queries. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

namespace headlong {

// Of so many heads of a layer at once; a layer that has more is computed in as many turns. A chunk
// of which a head's rows find no room reads its codes as they are, which is slower.
struct WidenedRoom {
  int64_t rows = 0;  // of a head's keys, and of its values
  int heads = 0;
  int64_t bytes = 0;

  static constexpr int64_t kMostRows = int64_t{1} << 20;
  static constexpr int64_t kBytes = int64_t{512} << 20;  // two heads may take more

  // heads: of a layer, most that a worker holds.
  static WidenedRoom For(int64_t max_context, int heads, int head_dim) {
    constexpr int64_t kEight = 8;
    const int64_t rows = (std::min(max_context, kMostRows) + kEight - 1) / kEight * kEight;
    const int64_t head_bytes = rows * 2 * 2 * head_dim;
    const auto fit = static_cast<int>(std::max<int64_t>(kBytes / head_bytes, 2));
    const int at_once = std::min(heads, fit);
    return {rows, at_once, at_once * head_bytes};
  }
};

}  // namespace headlong
