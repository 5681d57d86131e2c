// TARGET_smoke TARGET RUNS: the target's seeds, then RUNS mutations of them, the same every time.
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <utility>

#include "tests/fuzz/mutation.h"
#include "tests/fuzz/seeds.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

void Run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

// The input at hand, in a file that is left behind when the process dies of it. The file is
// overwritten in place: some file systems wait for the disk when a truncated file is closed.
class LastInput {
 public:
  explicit LastInput(std::string path)
      : path_(std::move(path)), file_(open(path_.c_str(), O_CREAT | O_WRONLY, 0644)) {}
  ~LastInput() {
    close(file_);
    unlink(path_.c_str());
  }
  LastInput(const LastInput&) = delete;
  LastInput& operator=(const LastInput&) = delete;

  bool Keep(const std::string& input) const {
    const auto size = static_cast<ssize_t>(input.size());
    return pwrite(file_, input.data(), input.size(), 0) == size && ftruncate(file_, size) == 0;
  }

 private:
  std::string path_;
  int file_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s TARGET RUNS\n", argv[0]);
    return 2;
  }
  const std::string target = argv[1];
  const std::vector<std::string> seeds = headlong::FuzzSeeds(target);
  const LastInput last(target + ".last_input");
  std::mt19937_64 random(1);
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& seed : seeds) Run(seed);
  const int64_t runs = std::strtoll(argv[2], nullptr, 10);
  for (int64_t run = 0; run < runs; ++run) {
    const std::string input = headlong::Mutate(seeds[run % seeds.size()], seeds, random);
    if (!last.Keep(input)) {
      std::fprintf(stderr, "%s.last_input: cannot be written\n", target.c_str());
      return 1;
    }
    Run(input);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::printf("%s: %zu seeds, %lld mutations in %.1f s\n", target.c_str(), seeds.size(),
              static_cast<long long>(runs), seconds.count());
  return 0;
}
