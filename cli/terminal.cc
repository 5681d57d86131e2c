#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr std::chrono::milliseconds kFrame{60};
constexpr std::chrono::seconds kPlainLineEvery{10};
constexpr int kMaxBarCells = 30;
constexpr std::string_view kEraseLine = "\r\x1b[2K";

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool LocaleIsUtf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string value = absl::AsciiStrToLower(Environment(name));
    if (value.empty()) continue;
    return absl::StrContains(value, "utf-8") || absl::StrContains(value, "utf8");
  }
  return false;
}

}  // namespace

TerminalTraits ProbeTerminal() {
  TerminalTraits traits;
  traits.stdout_is_terminal = isatty(STDOUT_FILENO) == 1;
  traits.stderr_is_terminal = isatty(STDERR_FILENO) == 1;
  traits.colour = Environment("NO_COLOR").empty() && Environment("TERM") != "dumb";
  traits.utf8 = LocaleIsUtf8();
  winsize size = {};
  for (const int fd : {STDERR_FILENO, STDOUT_FILENO}) {
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
      traits.width = std::clamp<int>(size.ws_col, 20, 500);
      break;
    }
  }
  return traits;
}

void Terminal::Line(std::string_view text) {
  const std::lock_guard lock(mutex_);
  const std::string erase(bar_.empty() ? std::string_view() : kEraseLine);
  absl::FPrintF(err_, "%s%s\n%s", erase, Av(text), bar_);
  std::fflush(err_);
}

void Terminal::ShowBar(std::string bar) {
  if (!animates()) return;
  const std::lock_guard lock(mutex_);
  if (bar_.empty() && bar.empty()) return;
  absl::FPrintF(err_, "%s%s", Av(kEraseLine), bar);
  std::fflush(err_);
  bar_ = std::move(bar);
}

std::string RenderBar(std::string_view label, const ProgressState& state, int width, bool utf8) {
  if (state.total <= 0) return absl::StrCat(Av(label), "  ", state.detail).substr(0, width - 1);
  const double fraction = std::clamp(state.done / state.total, 0.0, 1.0);
  const std::string tail =
      absl::StrFormat(" %3d %%  %s", static_cast<int>(fraction * 100), state.detail);
  // One column stays free: a full last line makes some terminals scroll.
  const int room = width - 1 - static_cast<int>(label.size() + tail.size()) - 3;
  if (room < 4) return absl::StrCat(Av(label), tail).substr(0, width - 1);
  const int cells = std::min(room, kMaxBarCells);
  const int filled = static_cast<int>(std::floor(fraction * cells));
  std::string bar;
  for (int cell = 0; cell < cells; ++cell) {
    bar += cell < filled ? (utf8 ? "█" : "#") : (utf8 ? "░" : ".");
  }
  return absl::StrCat(Av(label), " [", bar, "]", tail);
}

Progress::Progress(Terminal& terminal, std::string label)
    : terminal_(terminal), label_(std::move(label)) {
  next_ = Clock::now() + (terminal_.animates() ? Clock::duration(0) : kPlainLineEvery);
}

void Progress::Update(const ProgressState& state) {
  const Clock::time_point now = Clock::now();
  if (now < next_) return;
  if (terminal_.animates()) {
    next_ = now + kFrame;
    shown_ = true;
    terminal_.ShowBar(RenderBar(label_, state, terminal_.traits().width, terminal_.traits().utf8));
    return;
  }
  next_ = now + kPlainLineEvery;
  const std::string percent =
      state.total > 0 ? absl::StrFormat("%.0f %% ", 100 * state.done / state.total) : "";
  terminal_.Line(absl::StrCat(label_, ": ", percent, state.detail));
}

void Progress::Hide() {
  if (shown_) terminal_.HideBar();
  shown_ = false;
}

std::string Styled(std::string_view text, std::string_view style, bool on) {
  if (!on) return std::string(text);
  return absl::StrCat("\x1b[", Av(style), "m", Av(text), "\x1b[0m");
}

}  // namespace headlong
