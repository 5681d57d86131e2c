#include "coordinator/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace headlong {

std::string StopMatcher::Push(std::string_view piece) {
  held_.append(piece);
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, held_.find(stop));
  stopped_ = first != std::string::npos;
  const size_t cut = stopped_ ? first : HeldFrom();
  std::string sent = held_.substr(0, cut);
  held_ = stopped_ ? std::string() : held_.substr(cut);
  return sent;
}

std::string StopMatcher::Flush() { return std::exchange(held_, {}); }

// Where the longest suffix begins that is a proper prefix of a stop string. A stop string begins
// with a whole character, so the cut never splits one.
size_t StopMatcher::HeldFrom() const {
  size_t from = held_.size();
  for (const std::string& stop : stops_) {
    const size_t longest = std::min(held_.size(), stop.size() - 1);
    for (size_t length = longest; length > 0; --length) {
      if (held_.compare(held_.size() - length, length, stop, 0, length) == 0) {
        from = std::min(from, held_.size() - length);
        break;
      }
    }
  }
  return from;
}

}  // namespace headlong
