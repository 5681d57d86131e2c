#include "worker/kernels/thread_team.h"

#include <omp.h>

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace headlong::cpu {
namespace {

// Threads of this test's calls, whatever the machine has.
class ThreadTeam : public testing::Test {
 protected:
  ThreadTeam() { omp_set_num_threads(4); }
  ~ThreadTeam() override { omp_set_num_threads(before_); }

 private:
  const int before_ = omp_get_max_threads();
};

// Each job reads what the one before wrote, by whichever thread: a piece that was left out, done
// twice or not waited for changes the numbers.
void RunChain(int jobs, int pieces) {
  std::vector<uint64_t> numbers(pieces, 1), next(pieces);  // modulo 2^64
  for (int job = 0; job < jobs; ++job) {
    RunPieces(pieces, [&](int i) { next[i] += numbers[(i + 1) % pieces] + i; });
    numbers = next;
  }
  std::vector<uint64_t> expected(pieces, 1), wanted(pieces);
  for (int job = 0; job < jobs; ++job) {
    for (int i = 0; i < pieces; ++i) wanted[i] += expected[(i + 1) % pieces] + i;
    expected = wanted;
  }
  EXPECT_EQ(numbers, expected);
}

TEST_F(ThreadTeam, DoesEveryPieceOnceBeforeItReturns) {
  for (const int pieces : {1, 2, 3, 7, 64}) RunChain(50, pieces);
  RunPieces(0, [](int) { FAIL(); });
}

TEST_F(ThreadTeam, ThreadsShareThePieces) {
  std::atomic<int> present{0};
  // Nobody leaves a piece before two threads have taken one.
  RunPieces(2, [&](int) {
    ++present;
    while (present < 2) std::this_thread::yield();
  });
  EXPECT_EQ(present, 2);
}

TEST_F(ThreadTeam, GoesOnAfterItSlept) {
  for (int pause = 0; pause < 5; ++pause) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    RunChain(3, 16);
  }
}

TEST_F(ThreadTeam, TakesWhatThreadCountTheCallerHas) {
  for (const int threads : {1, 3, 2, 8, 4}) {
    omp_set_num_threads(threads);
    RunChain(20, 9);
  }
}

TEST_F(ThreadTeam, CallersAtOnceAllGetTheirWorkDone) {
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([] {
      omp_set_num_threads(4);
      RunChain(200, 5);
    });
  }
  for (std::thread& caller : callers) caller.join();
}

TEST_F(ThreadTeam, InsideAParallelRegionTheCallerWorksAlone) {
#pragma omp parallel num_threads(2)
  RunChain(20, 6);
}

TEST(TeamShare, IsWholeBlocksThatCoverAll) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(2);
  EXPECT_EQ(TeamShare(1024, 64, 4096), 256);
  EXPECT_EQ(TeamShare(1000, 64, 4096), 256);
  EXPECT_EQ(TeamShare(64, 64, 1 << 20), 64);
  EXPECT_EQ(TeamShare(100, 16, 1 << 20), 32);
  EXPECT_EQ(TeamShare(1024, 64, 256), 384);
  EXPECT_EQ(TeamShare(100, 16, 256), 112);
  omp_set_num_threads(before);
}

}  // namespace
}  // namespace headlong::cpu
