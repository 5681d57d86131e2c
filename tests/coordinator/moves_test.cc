// Planned moves over real gRPC, with workers that compute nothing: who goes on from where.
#include <gtest/gtest.h>

#include "tests/coordinator/coordinator_fixture.h"

namespace headlong {
namespace {

const std::vector<uint32_t> kPrompt{0, 17, 23, 42};

class LiveMoves : public WithCoordinator {
 protected:
  void Begin(const std::string& moves, bool keeps_lanes = true) {
    Start(2, milliseconds(100), moves);
    FakeWorkerOptions options;
    options.step_time = milliseconds(5);
    options.keeps_lanes = keeps_lanes;
    first_ = Worker(options);
    options.id = "w1";
    options.pid = 2;
    second_ = Worker(options);
  }

  // A stream over which w1 is drained while it runs.
  void DrainUnderAStream() {
    Call call(*inference_, Request(kPrompt, 80));
    ASSERT_TRUE(call.ReadTokens(5));
    ASSERT_TRUE(Drain("w1").ok());
    ASSERT_TRUE(call.ReadAll().ok());
    EXPECT_EQ(call.tokens, FakeTokens(kPrompt, 80, FakeWorker::kVocab));
    EXPECT_EQ(first_->epoch(), 2u);
    EXPECT_EQ(first_->complaint(), "");
    EXPECT_TRUE(first_->WaitIdle(milliseconds(5000))) << "the worker holds it still";
  }

  std::unique_ptr<FakeWorker> first_, second_;
};

TEST_F(LiveMoves, SequencesGoOnFromTheirLanes) {
  Begin("live");
  DrainUnderAStream();
  EXPECT_EQ(Cluster().sequences_moved(), 1u);
  EXPECT_EQ(Cluster().sequences_replayed(), 0u);
}

TEST_F(LiveMoves, AreComputedAgainWhereAWorkerDoesNotKeepThem) {
  Begin("live", /*keeps_lanes=*/false);
  DrainUnderAStream();
  EXPECT_EQ(Cluster().sequences_moved(), 0u);
  EXPECT_EQ(Cluster().sequences_replayed(), 1u);
}

TEST_F(LiveMoves, AreComputedAgainWhereOneSaysSo) {
  Begin("replay");
  DrainUnderAStream();
  EXPECT_EQ(Cluster().sequences_moved(), 0u);
  EXPECT_EQ(Cluster().sequences_replayed(), 1u);
}

TEST_F(LiveMoves, AStreamCancelledMeanwhileIsEnded) {
  Begin("live");
  {
    Call call(*inference_, Request(kPrompt, 2000));
    ASSERT_TRUE(call.ReadTokens(5));
    ASSERT_TRUE(Drain("w1").ok());
  }
  EXPECT_TRUE(Eventually([&] { return Requests().requests().empty(); }));
  EXPECT_TRUE(first_->WaitIdle(milliseconds(5000))) << "the worker holds it still";
  EXPECT_EQ(first_->complaint(), "");
}

TEST_F(LiveMoves, AFailureIsNoMove) {
  Begin("live");
  Call call(*inference_, Request(kPrompt, 80));
  ASSERT_TRUE(call.ReadTokens(5));
  second_->Drop();
  ASSERT_TRUE(call.ReadAll().ok());
  EXPECT_EQ(call.tokens, FakeTokens(kPrompt, 80, FakeWorker::kVocab));
  EXPECT_EQ(Cluster().sequences_moved(), 0u);
  EXPECT_EQ(Cluster().sequences_replayed(), 1u);
  EXPECT_EQ(first_->complaint(), "");
}

}  // namespace
}  // namespace headlong
