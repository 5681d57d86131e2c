#include "coordinator/lane_transfer_choice.h"

#include <gtest/gtest.h>

#include "cache/lane_moves.h"
#include "coordinator/held_lanes.h"
#include "tests/coordinator/placement_case.h"

namespace headlong {
namespace {

constexpr int64_t kMemory = int64_t{64} << 20;

class TransferChoices : public ::testing::Test {
 protected:
  TransferChoices() : plan_(SmallPlan()), both_(SmallProblem(config_, plan_, {kMemory, kMemory})) {
    for (PlacementWorker& worker : both_.workers) worker.matmul_flops = 1e9;
    one_ = both_;
    one_.workers.pop_back();
    const auto before = Place(both_);
    const auto after = Place(one_);
    EXPECT_TRUE(before.ok() && after.ok()) << before.status() << after.status();
    from_ = *before;
    to_ = *after;
  }

  TransferChoice Choose(MoveMode mode, const std::vector<uint64_t>& lengths) const {
    std::vector<v1::LiveSequence> running;
    for (const uint64_t length : lengths) {
      v1::LiveSequence& sequence = running.emplace_back();
      sequence.set_sequence_id(running.size());
      sequence.set_committed(length);
      sequence.set_prompt_tokens(static_cast<uint32_t>(length));
    }
    return ChooseTransfer({&one_, &from_, &to_, mode}, running);
  }

  const ModelConfig config_ = SmallModel();
  const Plan plan_;
  PlacementProblem both_, one_;
  v1::Placement from_, to_;
};

TEST_F(TransferChoices, LongContextsGoLiveAndShortOnesAreComputedAgain) {
  const TransferChoice longer = Choose(MoveMode::kAuto, {4000});
  EXPECT_EQ(longer.transfer.sequences_size(), 1);
  EXPECT_LT(longer.send_s, longer.replay_s);
  ASSERT_EQ(longer.transfer.workers_size(), 2);
  EXPECT_EQ(longer.transfer.workers(0), "w0");
  EXPECT_EQ(longer.transfer.workers(1), "w1");
  EXPECT_EQ(longer.transfer.from().workers_size(), 2);

  const TransferChoice shorter = Choose(MoveMode::kAuto, {3});
  EXPECT_TRUE(shorter.transfer.sequences().empty());
  EXPECT_GE(shorter.send_s, shorter.replay_s);
  EXPECT_GT(shorter.replay_s, 0);
}

TEST_F(TransferChoices, ModesDoAsTheySay) {
  EXPECT_TRUE(Choose(MoveMode::kReplay, {4000}).transfer.sequences().empty());
  EXPECT_EQ(Choose(MoveMode::kLive, {3}).transfer.sequences_size(), 1);
  EXPECT_TRUE(Choose(MoveMode::kLive, {}).transfer.sequences().empty());
  EXPECT_EQ(MoveModeFromName("live").value(), MoveMode::kLive);
  EXPECT_FALSE(MoveModeFromName("dead").ok());
}

// What leaves w1 are all of its lanes: no byte more, no byte less.
TEST_F(TransferChoices, CountsTheBytesOfTheWorkerThatLeaves) {
  int64_t bytes = 0;
  for (const HeldLane& lane : HeldLanesOf(from_.workers(1))) {
    LaneRule rule = RuleOf(plan_, lane.id, 4000);
    rule.stripes = lane.stripes;
    bytes += LaneBytes(rule, 4000, config_.head_dim, both_.cache_element_bytes);
  }
  EXPECT_GT(bytes, 0);
  EXPECT_EQ(Choose(MoveMode::kLive, {4000}).bytes, bytes);
}

TEST_F(TransferChoices, SlowLinksAndWhatDoesNotFit) {
  one_.link.bytes_per_s = 1e3;
  EXPECT_TRUE(Choose(MoveMode::kAuto, {4000}).transfer.sequences().empty());
  // The pages hold some of these; those behind the first that does not fit wait, short as they are.
  one_.link.bytes_per_s = 0;
  std::vector<uint64_t> lengths(100, 4000);
  lengths.push_back(1);
  const int fit = Choose(MoveMode::kLive, lengths).transfer.sequences_size();
  EXPECT_GT(fit, 0);
  EXPECT_LT(fit, 100);
}

// Between CPUs what sums reached is what lanes can reach; between GPUs sums go another way.
TEST_F(TransferChoices, SendsAsFastAsSumsOverSocketsWere) {
  one_.link.bytes_per_s = 1e8;
  const TransferChoice slow = Choose(MoveMode::kLive, {4000});
  one_.link.bytes_per_s = 1e11;
  const TransferChoice fast = Choose(MoveMode::kLive, {4000});
  // Of two workers' sums each sends as many bytes as the sum has.
  EXPECT_NEAR(slow.send_s - fast.send_s, static_cast<double>(slow.bytes) * (1e-8 - 1e-11),
              1e-4 * slow.send_s);
  for (PlacementWorker& worker : one_.workers) worker.device = "cuda";
  const TransferChoice gpus = Choose(MoveMode::kLive, {4000});
  EXPECT_GT(gpus.send_s, fast.send_s);
}

}  // namespace
}  // namespace headlong
