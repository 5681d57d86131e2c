#include "worker/kernels/thread_team.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "worker/kernels/thread_pause.h"

namespace headlong::cpu {
namespace {

// Turns of a helper before it sleeps: some 50 us, more than lies between two calls of one step.
constexpr int kSpinsBeforeSleep = 2000;
// Turns of the caller before it gives its core to a helper that may wait for one.
constexpr int kSpinsBeforeYield = 200;

class ThreadTeam {
 public:
  ~ThreadTeam() { Dismiss(); }

  // False: somebody else has the team.
  bool Run(int pieces, absl::FunctionRef<void(int)> piece) {
    const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    if (!lock) return false;
    Resize(omp_get_max_threads() - 1);
    job_ = &piece;
    pieces_ = pieces;
    undone_.store(pieces, std::memory_order_relaxed);
    ++generation_;
    ticket_.store((generation_ << 32) | static_cast<uint32_t>(pieces));
    if (sleepers_.load() > 0) Wake();
    Work();
    for (int spins = 0; undone_.load(std::memory_order_acquire) > 0; ++spins) {
      spins < kSpinsBeforeYield ? Pause() : std::this_thread::yield();
    }
    return true;
  }

 private:
  void Resize(int helpers) {
    if (std::ssize(helpers_) == helpers) return;
    Dismiss();
    for (int i = 0; i < helpers; ++i) helpers_.emplace_back([this] { Help(); });
  }

  void Dismiss() {
    stop_ = true;
    Wake();
    for (std::thread& helper : helpers_) helper.join();
    helpers_.clear();
    stop_ = false;
  }

  void Wake() {
    signal_.fetch_add(1);
    signal_.notify_all();
  }

  // Takes pieces while there are any. A piece that was taken keeps its job alive until it is done,
  // so what is read of the job after that belongs to it. False: there was none.
  bool Work() {
    bool worked = false;
    uint64_t ticket = ticket_.load();
    while (static_cast<uint32_t>(ticket) > 0) {
      if (!ticket_.compare_exchange_weak(ticket, ticket - 1)) continue;
      (*job_)(pieces_ - static_cast<int>(static_cast<uint32_t>(ticket)));
      undone_.fetch_sub(1, std::memory_order_release);
      worked = true;
      ticket = ticket_.load();
    }
    return worked;
  }

  void Help() {
    omp_set_num_threads(1);
    int spins = 0;
    while (!stop_) {
      if (Work()) {
        spins = 0;
      } else if (++spins < kSpinsBeforeSleep) {
        Pause();
      } else {
        Sleep();
        spins = 0;
      }
    }
  }

  void Sleep() {
    sleepers_.fetch_add(1);
    const uint32_t seen = signal_.load();
    // Who puts a job up or stops after this look sees the sleeper, and changes the signal.
    if (static_cast<uint32_t>(ticket_.load()) == 0 && !stop_) signal_.wait(seen);
    sleepers_.fetch_sub(1);
  }

  std::mutex mutex_;  // of the caller
  std::vector<std::thread> helpers_;
  const absl::FunctionRef<void(int)>* job_ = nullptr;
  int pieces_ = 0;
  uint64_t generation_ = 0;
  std::atomic<uint64_t> ticket_{0};  // generation, and how many pieces nobody has taken
  std::atomic<int> undone_{0};       // pieces
  std::atomic<int> sleepers_{0};
  std::atomic<uint32_t> signal_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace

int TeamShare(int count, int block, int64_t products) {
  constexpr int64_t kPiecesPerThread = 2;
  constexpr int64_t kProductsPerPiece = 80 * 1024;  // some 2 us
  const int64_t most = kPiecesPerThread * omp_get_max_threads();
  const int64_t pieces = std::clamp<int64_t>(count * products / kProductsPerPiece, 1, most);
  const int64_t blocks = (count + block - 1) / block;
  return static_cast<int>((blocks + pieces - 1) / pieces * block);
}

void RunPieces(int pieces, absl::FunctionRef<void(int)> piece) {
  static ThreadTeam team;
  const bool alone = pieces < 2 || omp_in_parallel() || omp_get_max_threads() < 2;
  if (!alone && team.Run(pieces, piece)) return;
  for (int i = 0; i < pieces; ++i) piece(i);
}

}  // namespace headlong::cpu
