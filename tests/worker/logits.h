// Comparing logits.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace headlong {

// The largest difference of two that stand in the same place; much where there are none, or not as
// many on both sides.
inline double Difference(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = a.size() == b.size() && !a.empty() ? 0 : 1e9;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    worst = std::max(worst, std::abs(double{a[i]} - b[i]));
  }
  return worst;
}

}  // namespace headlong
