// Collectives of host memory for backends elsewhere, and the choice among them. No GPU is needed:
// a CPU backend's numbers are copied as a GPU's would be.
#include "worker/collective_device.h"

#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "tests/worker/local_workers.h"
#include "worker/backend_cpu.h"

namespace headlong {
namespace {

constexpr int kWorld = 3;

// A CPU backend and numbers for it.
class HostBackend {
 public:
  HostBackend() : backend_(MakeCpuBackend(Storage::kFloat32)) {}
  Backend& operator*() { return *backend_; }
  Activations Make(int rows, int columns, float first) {
    const Activations x = *backend_->NewActivations(rows, columns);
    std::vector<float> values(int64_t{rows} * columns);
    for (size_t i = 0; i < values.size(); ++i) values[i] = first + static_cast<float>(i);
    backend_->WriteFloats(values.data(), std::ssize(values), x);
    return x;
  }
  std::vector<float> Read(Activations x, int64_t count) {
    std::vector<float> values(count);
    backend_->ReadFloats(x, count, values.data());
    return values;
  }

 private:
  std::unique_ptr<Backend> backend_;
};

// Runs `work` on every rank, each with its collective.
void OnEveryRank(bool staged, const std::function<void(int, HostBackend&, Collective&)>& work) {
  MemoryRendezvous rendezvous;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kWorld; ++rank) {
    threads.emplace_back([&, rank] {
      GlooOptions options;
      options.rank = rank;
      options.world = kWorld;
      options.host = "127.0.0.1";
      HostBackend backend;
      auto collective =
          staged ? MakeGlooCollective(options, rendezvous)
                 : ConnectWorkers(options, {-1, "cpu", ""}, Sums::kAuto, rendezvous, *backend);
      ASSERT_TRUE(collective.ok()) << collective.status();
      if (staged) collective = MakeStagedCollective(*std::move(collective), *backend);
      work(rank, backend, **collective);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

class Collectives : public ::testing::TestWithParam<bool> {};

TEST_P(Collectives, SumOverRanks) {
  OnEveryRank(GetParam(), [](int rank, HostBackend& backend, Collective& collective) {
    const Activations x = backend.Make(2, 5, 100.0f * rank);
    ASSERT_TRUE(collective.Sum(x, 10).ok());
    ASSERT_TRUE(collective.Wait().ok());
    const std::vector<float> sum = backend.Read(x, 10);
    for (int i = 0; i < 10; ++i) EXPECT_EQ(sum[i], 300 + 3 * i);
  });
}

TEST_P(Collectives, RowsComeTogetherOnTheLeader) {
  const std::vector<int> columns = {2, 0, 3};
  OnEveryRank(GetParam(), [&](int rank, HostBackend& backend, Collective& collective) {
    const Activations x = backend.Make(2, columns[rank], 10.0f * rank);
    std::vector<float> out;
    ASSERT_TRUE(collective.PrepareGather(25).ok());
    ASSERT_TRUE(collective.GatherToLeader(x, 2, columns).ok());
    ASSERT_TRUE(collective.ReadGathered(x, 2, 2, columns, out).ok());
    const std::vector<float> all = {0, 1, 20, 21, 22, 2, 3, 23, 24, 25};
    EXPECT_EQ(out, rank == 0 ? all : std::vector<float>());
  });
}

TEST(PlacePartsTest, OfRowsThatWereSentTheFirstAreTaken) {
  std::vector<float> out;
  PlaceParts(std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9}.data(), {2, 0, 1}, 3, 2, out);
  EXPECT_EQ(out, (std::vector<float>{1, 2, 7, 3, 4, 8}));
}

TEST(SumsTest, Names) {
  EXPECT_EQ(*SumsFromName("auto"), Sums::kAuto);
  EXPECT_EQ(*SumsFromName("push"), Sums::kPush);
  EXPECT_EQ(*SumsFromName("nccl"), Sums::kNccl);
  EXPECT_FALSE(SumsFromName("gloo").ok());
}

INSTANTIATE_TEST_SUITE_P(All, Collectives, ::testing::Bool());

}  // namespace
}  // namespace headlong
