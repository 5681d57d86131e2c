// When a dead worker process is started again. Pure: time is an argument.
#pragma once

#include <array>
#include <chrono>
#include <optional>

namespace headlong {

class RestartPolicy {
 public:
  using Millis = std::chrono::milliseconds;

  // A process that lived this long did work: its death is news, not a reason to wait.
  static constexpr Millis kQuickDeath{2000};
  // Waits before the restarts that follow quick deaths in a row.
  static constexpr std::array<Millis, 5> kDelays{Millis(0), Millis(200), Millis(500), Millis(1000),
                                                 Millis(2000)};

  // How long to wait before the next start; nullopt when all the waits are used up.
  std::optional<Millis> OnDeath(Millis lived) {
    if (lived >= kQuickDeath) {
      quick_deaths_ = 0;
      return Millis(0);
    }
    if (quick_deaths_ == kDelays.size()) return std::nullopt;
    return kDelays[quick_deaths_++];
  }

 private:
  size_t quick_deaths_ = 0;  // in a row
};

}  // namespace headlong
