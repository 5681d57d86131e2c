// Time as the coordinator counts it: monotonic. Pure code takes it as an argument.
#pragma once

#include <chrono>

namespace headlong {

using TimePoint = std::chrono::steady_clock::time_point;
using Millis = std::chrono::milliseconds;

inline double MillisBetween(TimePoint from, TimePoint to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

}  // namespace headlong
