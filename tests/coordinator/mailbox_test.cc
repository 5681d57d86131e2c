#include "coordinator/mailbox.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace headlong {
namespace {

TEST(Mailbox, OrderOfEachPosterIsKept) {
  Mailbox mailbox;
  constexpr int kPosters = 4;
  constexpr int kCalls = 2000;
  std::vector<std::vector<int>> seen(kPosters);
  std::vector<std::thread> posters;
  for (int poster = 0; poster < kPosters; ++poster) {
    posters.emplace_back([&, poster] {
      for (int i = 0; i < kCalls; ++i) mailbox.Post([&, poster, i] { seen[poster].push_back(i); });
    });
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  size_t total = 0;
  while (total < size_t{kPosters * kCalls} && std::chrono::steady_clock::now() < end) {
    mailbox.Run(absl::Milliseconds(10));
    total = 0;
    for (const auto& calls : seen) total += calls.size();
  }
  for (std::thread& poster : posters) poster.join();
  ASSERT_EQ(total, size_t{kPosters * kCalls});
  for (const auto& calls : seen) {
    for (int i = 0; i < kCalls; ++i) ASSERT_EQ(calls[i], i);
  }
}

TEST(Mailbox, PostWakesTheWaiter) {
  Mailbox mailbox;
  bool ran = false;
  std::thread poster([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    mailbox.Post([&] { ran = true; });
  });
  const auto begin = std::chrono::steady_clock::now();
  mailbox.Run(absl::Seconds(30));
  EXPECT_TRUE(ran);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  poster.join();
}

TEST(Mailbox, RunReturnsWhenNothingComes) {
  Mailbox mailbox;
  const auto begin = std::chrono::steady_clock::now();
  mailbox.Run(absl::Milliseconds(30));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(30));
}

// A call that posts must not keep the loop from its other work.
TEST(Mailbox, CallsPostedByCallsRunTheNextTime) {
  Mailbox mailbox;
  int runs = 0;
  mailbox.Post([&] {
    ++runs;
    mailbox.Post([&] { ++runs; });
  });
  mailbox.Run(absl::ZeroDuration());
  EXPECT_EQ(runs, 1);
  mailbox.Run(absl::ZeroDuration());
  EXPECT_EQ(runs, 2);
}

TEST(Mailbox, CallsThatNeverRanAreLetGo) {
  const auto held = std::make_shared<int>(0);
  {
    Mailbox mailbox;
    mailbox.Post([held] {});
    EXPECT_EQ(held.use_count(), 2);
  }
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace headlong
