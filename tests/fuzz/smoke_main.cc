// TARGET_smoke TARGET RUNS: the target's seeds, then RUNS mutations of them, the same every time.
// The input is written to a file before it runs, so that one that ends the process is at hand.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "tests/fuzz/mutation.h"
#include "tests/fuzz/seeds.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

void Run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

// What the run before the death of the process left behind.
class LastInput {
 public:
  explicit LastInput(std::string path) : path_(std::move(path)) {}
  ~LastInput() { std::remove(path_.c_str()); }
  LastInput(const LastInput&) = delete;
  LastInput& operator=(const LastInput&) = delete;

  void Keep(const std::string& input) const {
    std::FILE* file = std::fopen(path_.c_str(), "wb");
    if (file == nullptr) return;
    std::fwrite(input.data(), 1, input.size(), file);
    std::fclose(file);
  }

 private:
  std::string path_;
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
    last.Keep(input);
    Run(input);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::printf("%s: %zu seeds, %lld mutations in %.1f s\n", target.c_str(), seeds.size(),
              static_cast<long long>(runs), seconds.count());
  return 0;
}
