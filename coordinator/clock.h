// Time as the coordinator counts it: monotonic. Pure code takes it as an argument.
#pragma once

#include <chrono>
#include <cstdint>

namespace headlong {

using TimePoint = std::chrono::steady_clock::time_point;
using Millis = std::chrono::milliseconds;

inline double MillisBetween(TimePoint from, TimePoint to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

// For people to read; never for spans.
inline int64_t UnixMillis() {
  return std::chrono::duration_cast<Millis>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace headlong
