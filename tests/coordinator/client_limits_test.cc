#include "coordinator/client_limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/call_tags.h"
#include "coordinator/retry_hint.h"

namespace headlong {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

class Limits : public testing::Test {
 protected:
  static Caller Holder(const std::string& name, TokenLimits limits) { return {name, limits}; }

  ClientLimits limits_;
  TimePoint now_ = TimePoint(seconds(100));
};

// Takes what comes and forgets it.
class Nobody final : public ClientPort {
 public:
  void Accepted(int64_t, uint64_t) override {}
  void Progress(int64_t, int64_t) override {}
  void Token(const DeliveredToken&) override {}
  void Finished(const FinishedRequest&) override {}
  void Failed(const absl::Status&) override {}
};

TEST_F(Limits, WithoutLimitsNothingIsRefused) {
  const Caller caller = Holder("alice", {});
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(limits_.Begin(caller, now_).ok());
    limits_.Charge(caller, 1000000, now_);
  }
}

TEST_F(Limits, OneRequestTooManyIsToldWhenToComeBack) {
  const Caller alice = Holder("alice", {.max_concurrent = 2});
  EXPECT_TRUE(limits_.Begin(alice, now_).ok());
  EXPECT_TRUE(limits_.Begin(alice, now_).ok());
  const absl::Status third = limits_.Begin(alice, now_);
  EXPECT_TRUE(absl::IsResourceExhausted(third)) << third;
  EXPECT_THAT(std::string(third.message()), HasSubstr("2 requests at once"));
  EXPECT_EQ(RetryAfter(third), ClientLimits::kRetryAfter);
  EXPECT_TRUE(limits_.Begin(Holder("bob", {.max_concurrent = 2}), now_).ok()) << "others may";
  limits_.End(alice);
  EXPECT_TRUE(limits_.Begin(alice, now_).ok());
}

TEST_F(Limits, ARefusedRequestDoesNotCount) {
  const Caller alice = Holder("alice", {.max_concurrent = 1});
  EXPECT_TRUE(limits_.Begin(alice, now_).ok());
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(limits_.Begin(alice, now_).ok());
  limits_.End(alice);
  EXPECT_TRUE(limits_.Begin(alice, now_).ok());
}

TEST_F(Limits, TokensDrainAwayAtTheRate) {
  const Caller alice = Holder("alice", {.tokens_per_second = 100});
  limits_.Charge(alice, 999, now_);  // less than ten seconds' worth
  EXPECT_TRUE(limits_.CheckRate(alice, now_).ok());
  limits_.Charge(alice, 251, now_);  // 250 too many: 2.5 seconds
  const absl::Status full = limits_.Begin(alice, now_);
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_EQ(RetryAfter(full), milliseconds(2500));
  EXPECT_THAT(std::string(full.message()), HasSubstr("100 tokens per second"));
  EXPECT_FALSE(limits_.Begin(alice, now_ + milliseconds(2499)).ok());
  EXPECT_TRUE(limits_.Begin(alice, now_ + milliseconds(2501)).ok());
  EXPECT_TRUE(limits_.CheckRate(Holder("bob", {.tokens_per_second = 100}), now_).ok());
}

TEST_F(Limits, AnIdleHolderSavesNothingUp) {
  const Caller alice = Holder("alice", {.tokens_per_second = 10});
  limits_.Charge(alice, 1, now_);
  limits_.Charge(alice, 101, now_ + seconds(100000));
  EXPECT_FALSE(limits_.CheckRate(alice, now_ + seconds(100000)).ok());
}

TEST_F(Limits, ANewLimitHoldsAtOnce) {
  EXPECT_TRUE(limits_.Begin(Holder("alice", {.max_concurrent = 1}), now_).ok());
  EXPECT_FALSE(limits_.Begin(Holder("alice", {.max_concurrent = 1}), now_).ok());
  EXPECT_TRUE(limits_.Begin(Holder("alice", {.max_concurrent = 2}), now_).ok());
}

TEST_F(Limits, APortThatEndsOrIsForgottenGivesItsPlaceBack) {
  const Caller alice = Holder("alice", {.max_concurrent = 1, .tokens_per_second = 1});
  for (const int way : {0, 1, 2}) {
    ASSERT_TRUE(limits_.Begin(alice, now_).ok()) << way;
    auto port = limits_.Count(alice, std::make_shared<Nobody>());
    EXPECT_FALSE(limits_.Begin(alice, now_).ok());
    if (way == 0) port->Finished({});
    if (way == 1) port->Failed(absl::UnavailableError("gone"));
    port.reset();
  }
  ASSERT_TRUE(limits_.Begin(alice, now_).ok());
  const auto port = limits_.Count(alice, std::make_shared<Nobody>());
  port->Accepted(8, 1);
  port->Token({});
  const TimePoint now = std::chrono::steady_clock::now();
  EXPECT_TRUE(limits_.CheckRate(alice, now).ok());
  port->Token({});
  port->Token({});
  EXPECT_FALSE(limits_.CheckRate(alice, now).ok()) << "prompt and answer are 11 tokens";
  port->Finished({});
}

TEST(RetryHint, OtherStatusesHaveNone) {
  EXPECT_FALSE(RetryAfter(absl::OkStatus()).has_value());
  EXPECT_FALSE(RetryAfter(absl::ResourceExhaustedError("")).has_value());
  const absl::Status status = TryAgain("too much", milliseconds(1500));
  EXPECT_EQ(status.message(), "too much; try again in 1.5 s");
}

TEST(Tags, TraceIdsAreThoseOfTraceContext) {
  const std::string id = "4bf92f3577b34da6a3ce929d0e0e4736";
  const std::string parent = "-00f067aa0ba902b7-01";
  EXPECT_EQ(TraceIdOf("00-" + id + parent), id);
  EXPECT_EQ(TraceIdOf("01-" + id + parent + "-more"), id) << "a later version";
  for (const std::string& wrong :
       {std::string(), "00-" + id, "00-" + id + parent + "-more", "ff-" + id + parent,
        "00-" + std::string(32, '0') + parent, "00-" + id + "-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736" + parent, "00_" + id + parent,
        "00-" + id + parent + "x"}) {
    EXPECT_EQ(TraceIdOf(wrong), "") << wrong;
  }
}

TEST(Tags, OnlyNamesBecomeRequestIds) {
  const auto id_of = [](const char* value) {
    return TagsOf({{grpc::string_ref("x-request-id"), grpc::string_ref(value)}}).request_id;
  };
  EXPECT_EQ(id_of("a-1"), "a-1");
  EXPECT_EQ(id_of("a b\n"), "");
  EXPECT_EQ(TagsOf({}).request_id, "");
}

}  // namespace
}  // namespace headlong
