#include "cli/parallel.h"

#include <atomic>
#include <thread>
#include <vector>

namespace headlong {

void RunOnThreads(size_t threads, const std::function<void()>& work, const std::string& label,
                  const std::function<ProgressState()>& progress, Terminal& terminal) {
  constexpr std::chrono::milliseconds kLookEvery{20};
  std::atomic<size_t> running{threads};
  std::vector<std::thread> workers;
  for (size_t i = 0; i < threads; ++i) {
    workers.emplace_back([&] {
      work();
      --running;
    });
  }
  Progress bar(terminal, label);
  while (running > 0) {
    bar.Update(progress());
    std::this_thread::sleep_for(kLookEvery);
  }
  for (std::thread& worker : workers) worker.join();
}

}  // namespace headlong
