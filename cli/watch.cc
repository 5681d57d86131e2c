#include "cli/watch.h"

#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "absl/strings/str_cat.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr char kOtherScreen[] = "\x1b[?1049h\x1b[?25l";  // and no cursor
constexpr char kFirstScreen[] = "\x1b[?25h\x1b[?1049l";  // as it was
constexpr char kHome[] = "\x1b[H";
constexpr char kEraseBelow[] = "\x1b[J";
constexpr char kEraseToEndOfLine[] = "\x1b[K\n";

// Overwrites in place, so that nothing flickers.
std::string InPlace(const std::string& text) {
  std::string out = kHome;
  for (const char c : text) {
    if (c == '\n') {
      out += kEraseToEndOfLine;
    } else {
      out += c;
    }
  }
  return out + kEraseBelow;
}

// The terminal's other screen for as long as it lives.
class Screen {
 public:
  explicit Screen(bool in_place) : in_place_(in_place) {
    if (in_place_) PrintText(kOtherScreen).IgnoreError();
  }
  ~Screen() {
    if (in_place_) PrintText(kFirstScreen).IgnoreError();
  }
  Screen(const Screen&) = delete;

  absl::Status Show(const WatchedFrame& frame, bool first) const {
    if (in_place_) return PrintText(InPlace(frame.text));
    return PrintText(absl::StrCat(first || frame.document ? "" : "\n", frame.text));
  }

 private:
  const bool in_place_;
};

// The keyboard for as long as it lives: keys come at once and are not shown.
class Keys {
 public:
  // Another job's terminal is left alone: to change it would stop this one.
  explicit Keys(bool listens)
      : listens_(listens && tcgetpgrp(STDIN_FILENO) == getpgrp() &&
                 tcgetattr(STDIN_FILENO, &before_) == 0) {
    if (!listens_) return;
    termios now = before_;
    now.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    now.c_cc[VMIN] = 0;  // reading never waits
    now.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &now);
  }
  ~Keys() {
    if (listens_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  Keys(const Keys&) = delete;

  // Whether q was among those that were pressed since the last call.
  bool Quits() const {
    bool quits = false;
    for (char key = 0; listens_ && read(STDIN_FILENO, &key, 1) == 1;) quits |= key == 'q';
    return quits;
  }

 private:
  termios before_ = {};
  const bool listens_;
};

// Waits for the time of the next picture. How the command ends, where it does before that.
std::optional<ExitCode> WaitForNext(std::chrono::milliseconds pause, const Keys& keys) {
  const auto end = std::chrono::steady_clock::now() + pause;
  while (true) {
    if (keys.Quits()) return ExitCode::kOk;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (!SleepUnlessInterrupted(std::clamp(left, std::chrono::milliseconds(0), kInterruptPoll))) {
      return ExitCode::kInterrupted;
    }
    if (left <= kInterruptPoll) return std::nullopt;
  }
}

}  // namespace

void AddWatchFlags(CLI::App* command, WatchFlags* flags) {
  command->add_option("--interval", flags->interval_s, "Seconds from one picture to the next")
      ->check(CLI::Range(0.05, 86400.0))
      ->capture_default_str();
  command
      ->add_option("--count", flags->count, "End after so many pictures (default: at q or Ctrl-C)")
      ->check(CLI::Range(1, 1 << 30));
}

ExitCode WatchFrames(const WatchFlags& flags, const Terminal& terminal,
                     const std::function<absl::StatusOr<WatchedFrame>()>& next) {
  absl::StatusOr<WatchedFrame> frame = next();
  if (!frame.ok()) return Fail(frame.status());
  const bool document = frame->document;
  const bool in_place = terminal.colours_stdout() && !document;
  const Screen screen(in_place);
  const Keys keys(in_place);
  for (int shown = 1;; ++shown) {
    absl::Status printed = absl::OkStatus();
    if (frame.ok()) {
      printed = screen.Show(*frame, shown == 1);
    } else if (!Interrupted()) {
      const std::string message(frame.status().message());
      const std::string line = document ? JsonLine({{"error", ErrorJson(frame.status())}})
                                        : absl::StrCat("no answer: ", message, "\n");
      printed = screen.Show({line, document}, false);
    }
    if (!printed.ok()) return Fail(printed);
    if (shown == flags.count) return ExitCode::kOk;
    const auto pause = std::chrono::milliseconds(static_cast<int64_t>(flags.interval_s * 1e3));
    if (const auto end = WaitForNext(pause, keys)) return *end;
    frame = next();
    if (Interrupted()) return ExitCode::kInterrupted;
  }
}

}  // namespace headlong
