// Sums through the memory of other GPUs, by threads of this process. Skipped, with a word, where
// there are not two GPUs.
#include "worker/push_sums.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <thread>

#include "tests/worker/local_workers.h"

namespace headlong {
namespace {

using cuda::CheckCuda;
using cuda::DeviceArray;

class PushSumsTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto devices = DevicesOf(On::kCuda);
    if (!devices.ok()) GTEST_SKIP() << devices.status();
    if (devices->size() < 2) GTEST_SKIP() << "one GPU: there is nothing to sum with";
    for (const DeviceChoice& device : *devices) {
      if (gpus_.size() < cuda::kMaxPushRanks) gpus_.push_back(device.gpu);
    }
  }
  int world() const { return static_cast<int>(gpus_.size()); }

  // Runs `work` on every rank, each with its sums and its stream.
  void OnEveryRank(const std::function<void(int, PushSums&, cudaStream_t)>& work) {
    MemoryRendezvous rendezvous;
    std::vector<std::thread> threads;
    for (int rank = 0; rank < world(); ++rank) {
      threads.emplace_back([&, rank] {
        CheckCuda(cudaSetDevice(gpus_[rank]), "choosing");
        const cuda::Stream stream;
        PushOptions options;
        options.rank = rank;
        options.world = world();
        options.stream = stream.get();
        const auto sums = PushSums::Connect(options, rendezvous);
        ASSERT_TRUE(sums.ok()) << sums.status();
        work(rank, **sums, stream.get());
        stream.Wait();
        // Nobody leaves while another may still write.
        ASSERT_TRUE(rendezvous.Put("end/" + std::to_string(rank), "").ok());
        for (int other = 0; other < world(); ++other) {
          ASSERT_TRUE(
              rendezvous.Get("end/" + std::to_string(other), std::chrono::seconds(60)).ok());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  std::vector<int> gpus_;
};

// Also -0.0, which stands for what is not there yet.
std::vector<float> Numbers(int rank, int trial, int64_t count) {
  std::mt19937 random(trial * 100 + rank);
  std::normal_distribution<float> normal;
  std::vector<float> numbers(count);
  for (float& x : numbers) x = random() % 8 == 0 ? -0.0f : normal(random);
  return numbers;
}

TEST_F(PushSumsTest, AreTheSumsInTheOrderOfTheRanks) {
  const int64_t counts[] = {1, 2, 3, 4, 5, 63, 1000, 4096, 65537, cuda::kMaxPushFloats};
  OnEveryRank([&](int rank, PushSums& sums, cudaStream_t stream) {
    for (int trial = 0; trial < 60; ++trial) {
      const int64_t count = counts[trial % 10];
      DeviceArray<float> x(Numbers(rank, trial, count));
      sums.Sum(x.get(), count);
      CheckCuda(cudaStreamSynchronize(stream), "a sum");
      std::vector<float> expected(count, 0);
      for (int r = 0; r < world(); ++r) {
        const std::vector<float> part = Numbers(r, trial, count);
        for (int64_t i = 0; i < count; ++i) expected[i] += part[i];
      }
      ASSERT_EQ(x.Read(), expected) << "trial " << trial << " of " << count;
    }
  });
}

// Of many sums in a row, each of what the one before gave, none waits for the host.
TEST_F(PushSumsTest, OneAfterTheOther) {
  OnEveryRank([&](int, PushSums& sums, cudaStream_t stream) {
    DeviceArray<float> x(std::vector<float>(5000, 1));
    for (int i = 0; i < 2000; ++i) {
      sums.Sum(x.get(), i % 3 == 0 ? 5000 : 4000);
      if (i % 20 == 19) {  // back to 1 before it is beyond fp32
        CheckCuda(cudaStreamSynchronize(stream), "sums");
        float expected = 1;
        for (int k = 0; k < 20; ++k) expected *= static_cast<float>(world());
        ASSERT_EQ(x.Read()[3999], expected) << i;
        x.Write(std::vector<float>(5000, 1));
      }
    }
  });
}

TEST_F(PushSumsTest, ASumThatNobodyJoinsEndsWhenAbandoned) {
  OnEveryRank([&](int rank, PushSums& sums, cudaStream_t stream) {
    if (rank != 0) return;
    DeviceArray<float> x(std::vector<float>(1000, 1));
    sums.Sum(x.get(), 1000);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_EQ(cudaStreamQuery(stream), cudaErrorNotReady);
    sums.Abandon();
    CheckCuda(cudaStreamSynchronize(stream), "an abandoned sum");
  });
}

TEST_F(PushSumsTest, OneRefusalIsTheRefusalOfAll) {
  MemoryRendezvous rendezvous;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world(); ++rank) {
    threads.emplace_back([&, rank] {
      CheckCuda(cudaSetDevice(gpus_[rank]), "choosing");
      PushOptions options;
      options.rank = rank;
      options.world = world();
      options.wanted = rank != 1;
      const auto sums = PushSums::Connect(options, rendezvous);
      EXPECT_EQ(sums.status().code(), absl::StatusCode::kFailedPrecondition) << sums.status();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace headlong
