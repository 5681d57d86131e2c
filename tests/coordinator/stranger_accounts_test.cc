// Whose connection is cut, by what each and all have sent.
#include "coordinator/stranger_accounts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace headlong {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr StrangerLimits kLimits{.each_bytes = 100, .quiet_bytes = 10, .all_bytes = 200};

TEST(StrangerAccounts, EachHasALimit) {
  StrangerAccounts accounts(kLimits);
  accounts.Open(1);
  EXPECT_THAT(accounts.Received(1, 0), IsEmpty());
  EXPECT_THAT(accounts.Received(1, 100), IsEmpty());
  EXPECT_THAT(accounts.Received(1, 101), ElementsAre(1));
}

TEST(StrangerAccounts, CountsAnewFromEachCall) {
  StrangerAccounts accounts(kLimits);
  accounts.Open(1);
  for (uint64_t received = 90; received < 100000; received += 90) {
    accounts.CallBegan(1);
    ASSERT_THAT(accounts.Received(1, received), IsEmpty());
  }
}

TEST(StrangerAccounts, CallsDoNotAddUp) {
  StrangerAccounts accounts(kLimits);
  accounts.Open(1);
  for (int i = 0; i < 1000; ++i) accounts.CallBegan(1);
  EXPECT_THAT(accounts.Received(1, 50), IsEmpty());
  EXPECT_THAT(accounts.Received(1, 150), IsEmpty());
  EXPECT_THAT(accounts.Received(1, 151), ElementsAre(1));
}

TEST(StrangerAccounts, AllTogetherHaveALimitAndTheOldestGo) {
  StrangerAccounts accounts(kLimits);
  for (const int id : {1, 2, 3, 4}) accounts.Open(id);
  EXPECT_THAT(accounts.Received(2, 90), IsEmpty());  // 80 of 200
  EXPECT_THAT(accounts.Received(1, 90), IsEmpty());  // 160
  EXPECT_THAT(accounts.Received(3, 50), IsEmpty());  // 200
  EXPECT_THAT(accounts.Received(4, 11), ElementsAre(2));
  EXPECT_THAT(accounts.Received(4, 90), ElementsAre(2)) << "it was not closed";
  accounts.Close(2);
  EXPECT_THAT(accounts.Received(3, 100), ElementsAre(1));
}

TEST(StrangerAccounts, TheQuietCountForNothing) {
  StrangerAccounts accounts(kLimits);
  for (int id = 0; id < 10000; ++id) {
    accounts.Open(id);
    ASSERT_THAT(accounts.Received(id, 10), IsEmpty());
  }
}

TEST(StrangerAccounts, WhoIsClosedOrCallsMakesRoom) {
  StrangerAccounts accounts(kLimits);
  for (int round = 0; round < 100; ++round) {
    for (const int id : {1, 2}) {
      accounts.Open(id);  // in place of the last round's
      ASSERT_THAT(accounts.Received(id, 100), IsEmpty());
    }
    accounts.CallBegan(1);
    ASSERT_THAT(accounts.Received(1, 200), IsEmpty());
    accounts.Open(3);
    ASSERT_THAT(accounts.Received(3, 100), IsEmpty());
    accounts.Close(3);
  }
}

TEST(StrangerAccounts, OfNobodyIsNothing) {
  StrangerAccounts accounts(kLimits);
  accounts.Close(7);
  accounts.CallBegan(7);
  EXPECT_THAT(accounts.Received(7, 1000), IsEmpty());
}

// Whatever comes in which order: once the named are closed, all limits hold.
TEST(StrangerAccounts, LimitsHoldInAnyOrder) {
  constexpr int kCount = 20;
  struct Stranger {
    uint64_t received = 0, begin = 0;
    bool open = false, began = false;
  };
  std::mt19937 random(1);
  StrangerAccounts accounts(kLimits);
  std::vector<Stranger> strangers(kCount);
  for (int step = 0; step < 100000; ++step) {
    const int id = static_cast<int>(random() % kCount);
    Stranger& one = strangers[id];
    if (!one.open) {
      accounts.Open(id);
      one = {.open = true};
    } else if (random() % 8 == 0) {
      accounts.CallBegan(id);
      one.began = true;
    } else {
      one.received += random() % 40;
      if (one.began) one.begin = one.received;
      one.began = false;
      for (const int cut : accounts.Received(id, one.received)) {
        accounts.Close(cut);
        strangers[cut].open = false;
      }
    }
    uint64_t all = 0;
    for (const Stranger& each : strangers) {
      const uint64_t sent = each.open ? each.received - each.begin : 0;
      ASSERT_LE(sent, kLimits.each_bytes);
      all += sent - std::min(sent, kLimits.quiet_bytes);
    }
    ASSERT_LE(all, kLimits.all_bytes);
  }
}

}  // namespace
}  // namespace headlong
