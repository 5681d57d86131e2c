// Finds stop strings in a text that arrives in pieces, and holds back what may be the beginning of
// one, so that no part of a stop string is ever sent. Pure; one owner.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace headlong {

class StopMatcher {
 public:
  // REQUIRES: no stop string is empty.
  explicit StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // Text that can be sent now. Once a stop string is complete: what stands before it, and stopped()
  // is true. Of several the one that begins first counts. REQUIRES: not stopped().
  std::string Push(std::string_view piece);
  bool stopped() const { return stopped_; }
  // What is still held back; empty once stopped.
  std::string Flush();

 private:
  size_t HeldFrom() const;

  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace headlong
