// What stands on the user's screen. stdout carries data only; everything here goes to stderr. One
// Terminal per process; its methods may be called from any thread.
// Invariant: off a terminal or under NO_COLOR no escape code is ever written.
#pragma once

#include <chrono>
#include <cstdio>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"

namespace headlong {

struct TerminalTraits {
  bool stdout_is_terminal = false;
  bool stderr_is_terminal = false;
  bool colour = false;  // NO_COLOR unset or empty, TERM not "dumb"
  bool utf8 = false;    // by locale; block characters are only drawn then
  int width = 80;
};
TerminalTraits ProbeTerminal();

class Terminal {
 public:
  explicit Terminal(TerminalTraits traits, std::FILE* err = stderr) : traits_(traits), err_(err) {}
  Terminal(const Terminal&) = delete;

  const TerminalTraits& traits() const { return traits_; }
  bool animates() const { return traits_.stderr_is_terminal && traits_.colour; }
  bool colours_stdout() const { return traits_.stdout_is_terminal && traits_.colour; }

  // One line of its own, above the bar if one stands.
  void Line(std::string_view text) ABSL_LOCKS_EXCLUDED(mutex_);
  // The last line of the screen, replaced in place. Nothing where nothing is animated.
  void ShowBar(std::string bar) ABSL_LOCKS_EXCLUDED(mutex_);
  void HideBar() ABSL_LOCKS_EXCLUDED(mutex_) { ShowBar(""); }

 private:
  const TerminalTraits traits_;
  std::FILE* const err_;
  std::mutex mutex_;
  std::string bar_ ABSL_GUARDED_BY(mutex_);
};

struct ProgressState {
  double done = 0;
  double total = 0;    // 0: not known yet
  std::string detail;  // e.g. "12.0 of 19.9 MiB"
};

// "label [#####.....] 50 %  detail", at most `width` columns. Pure.
std::string RenderBar(std::string_view label, const ProgressState& state, int width, bool utf8);

// A bar for one piece of long work: animated on a terminal, else a plain line now and then. Gone
// when it goes out of scope. One thread at a time.
class Progress {
 public:
  Progress(Terminal& terminal, std::string label);
  ~Progress() { Hide(); }
  Progress(const Progress&) = delete;

  void Update(const ProgressState& state);
  void Hide();

 private:
  using Clock = std::chrono::steady_clock;
  Terminal& terminal_;
  const std::string label_;
  Clock::time_point next_;
  bool shown_ = false;
};

// Text with an ANSI style ("1" bold, "33" yellow, ...) when `on`.
std::string Styled(std::string_view text, std::string_view style, bool on);

}  // namespace headlong
