// Collectives of host memory for backends elsewhere, and the choice among them. No GPU is needed:
// a CPU backend's numbers are copied as a GPU's would be.
#include "worker/collective_device.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <thread>

#include "absl/synchronization/notification.h"
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
  Backend* operator->() { return backend_.get(); }
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
void OnEveryRank(bool staged, const std::function<void(int, HostBackend&, Collective&)>& work,
                 std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
  MemoryRendezvous rendezvous;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kWorld; ++rank) {
    threads.emplace_back([&, rank] {
      GlooOptions options;
      options.rank = rank;
      options.world = kWorld;
      options.host = "127.0.0.1";
      options.timeout = timeout;
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

// Around what fits into a message, into a message of each rank, and what is left of both.
TEST_P(Collectives, SumsOfAnySizeHaveTheSameBitsOnEveryRank) {
  constexpr int kMessage = 4096;
  for (const int count :
       {1, kMessage, kMessage + 1, 3 * kMessage, 3 * kMessage + 1, 7 * kMessage + 5, 300'000}) {
    std::vector<std::vector<float>> sums(kWorld);
    OnEveryRank(GetParam(), [&](int rank, HostBackend& backend, Collective& collective) {
      std::vector<float> values(count);
      for (int i = 0; i < count; ++i) values[i] = std::sin(static_cast<float>(i + 7 * rank));
      const Activations x = *backend->NewActivations(1, count);
      backend->WriteFloats(values.data(), count, x);
      ASSERT_TRUE(collective.Sum(x, count).ok());
      ASSERT_TRUE(collective.Sum(x, count).ok());  // nothing of the first is left behind
      sums[rank] = backend.Read(x, count);
    });
    EXPECT_EQ(sums[1], sums[0]) << count;
    EXPECT_EQ(sums[2], sums[0]) << count;
    for (int i = 0; i < count; ++i) {
      double sum = 0;
      for (int rank = 0; rank < kWorld; ++rank) {
        sum += std::sin(static_cast<float>(i + 7 * rank));
      }
      ASSERT_NEAR(sums[0][i], kWorld * sum, 1e-5) << i << " of " << count;
    }
  }
}

TEST_P(Collectives, ManyRowsComeTogetherOnTheLeader) {
  constexpr int kRows = 64, kColumns = 5000;  // beyond what a connection keeps
  const std::vector<int> columns(kWorld, kColumns);
  OnEveryRank(GetParam(), [&](int rank, HostBackend& backend, Collective& collective) {
    const Activations x = backend.Make(kRows, kColumns, 1e6f * rank);
    std::vector<float> out;
    ASSERT_TRUE(collective.PrepareGather(int64_t{kRows} * kWorld * kColumns).ok());
    ASSERT_TRUE(collective.GatherToLeader(x, kRows, columns).ok());
    ASSERT_TRUE(collective.ReadGathered(x, kRows, kRows, columns, out).ok());
    if (rank != 0) return;
    ASSERT_EQ(out.size(), kRows * kWorld * kColumns);
    EXPECT_EQ(out[kColumns - 1], kColumns - 1);
    EXPECT_EQ(out.back(), 2e6f + kRows * kColumns - 1);
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

TEST(GlooCollective, ARankThatIsGoneEndsTheSum) {
  OnEveryRank(/*staged=*/true, [](int rank, HostBackend& backend, Collective& collective) {
    if (rank == 1) return;
    const absl::Status status = collective.Sum(backend.Make(1, 8, 0), 8);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  });
}

TEST(GlooCollective, ARankThatHangsEndsTheSumInTime) {
  absl::Notification done;
  OnEveryRank(
      /*staged=*/true,
      [&](int rank, HostBackend& backend, Collective& collective) {
        if (rank == 1) return done.WaitForNotification();
        const absl::Status status = collective.Sum(backend.Make(1, 8, 0), 8);
        EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
        if (rank == 0) done.Notify();
      },
      std::chrono::milliseconds(300));
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
