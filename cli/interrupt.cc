#include "cli/interrupt.h"

#include <csignal>
#include <thread>

namespace headlong {
namespace {

std::atomic<bool> interrupted{false};
std::atomic<int> interrupt_count{0};
std::atomic<int> first_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may not take a lock");

extern "C" void CountSignal(int signal) { NoteInterrupt(signal); }

}  // namespace

void NoteInterrupt(int signal) {
  int none = 0;
  first_signal.compare_exchange_strong(none, signal);
  interrupt_count.fetch_add(1);
  interrupted.store(true);
}

void ResetInterrupts() {
  interrupted = false;
  interrupt_count = 0;
  first_signal = 0;
}

void InstallInterruptHandlers() {
  struct sigaction action = {};
  action.sa_handler = CountSignal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool Interrupted() { return interrupted.load(); }
int InterruptCount() { return interrupt_count.load(); }
int InterruptSignal() { return first_signal.load(); }
const std::atomic<bool>& InterruptFlag() { return interrupted; }

bool SleepUnlessInterrupted(std::chrono::milliseconds duration) {
  const auto end = std::chrono::steady_clock::now() + duration;
  while (!Interrupted()) {
    const auto left = end - std::chrono::steady_clock::now();
    if (left <= std::chrono::milliseconds(0)) return true;
    std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(left, kInterruptPoll));
  }
  return false;
}

}  // namespace headlong
