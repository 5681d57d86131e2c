// Epochs and the fault detector, with time as an argument.
#include "coordinator/cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/status/status.h"

namespace headlong {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

v1::Register Worker(const std::string& id, int64_t pid = 1) {
  v1::Register registration;
  registration.set_worker_id(id);
  registration.set_pid(pid);
  return registration;
}

class Epochs : public testing::Test {
 protected:
  explicit Epochs(int workers = 2) : cluster_(OptionsFor(workers)) {}

  static ClusterOptions OptionsFor(int workers) {
    ClusterOptions options;
    options.expected_workers = workers;
    return options;
  }

  // Ticks every 20 ms, as the engine does; workers in `beating` beat. Stops at the first action.
  ClusterActions Wait(Millis span, const std::vector<LinkId>& beating, bool in_flight = false) {
    for (const TimePoint end = now_ + span; now_ < end;) {
      now_ += Millis(20);
      for (const LinkId link : beating) cluster_.Beat(link, {}, now_);
      const ClusterActions actions = cluster_.Tick(in_flight, now_);
      if (actions.stop_work || actions.begin_epoch || !actions.close.empty()) return actions;
    }
    return {};
  }

  ClusterActions Ready(LinkId link) {
    v1::ConfigureDone done;
    done.set_epoch(cluster_.epoch());
    return cluster_.ConfigureDone(link, done, now_);
  }

  // Links 1 and 2 of workers a and b.
  void Serve() {
    cluster_.Registered(1, Worker("a"), now_);
    ASSERT_TRUE(cluster_.Registered(2, Worker("b"), now_).begin_epoch);
    Ready(1);
    ASSERT_TRUE(Ready(2).began_serving);
  }

  TimePoint now_{Millis(1000000)};
  Cluster cluster_;
};

TEST_F(Epochs, BeginWithTheExpectedWorkersAndServeWhenAllAreReady) {
  EXPECT_FALSE(cluster_.Registered(1, Worker("a"), now_).begin_epoch);
  EXPECT_FALSE(Wait(Millis(60000), {1}).begin_epoch) << "the first epoch waits for all";
  EXPECT_EQ(cluster_.epoch(), 0u);
  EXPECT_TRUE(cluster_.Registered(2, Worker("b"), now_).begin_epoch);
  EXPECT_EQ(cluster_.epoch(), 1u);
  EXPECT_EQ(cluster_.phase(), ClusterPhase::kLoading);
  EXPECT_THAT(cluster_.members(), ElementsAre(1, 2));
  EXPECT_FALSE(Ready(1).began_serving);
  EXPECT_FALSE(Ready(1).began_serving) << "said twice";
  EXPECT_TRUE(Ready(2).began_serving);
  EXPECT_EQ(cluster_.phase(), ClusterPhase::kServing);
}

TEST_F(Epochs, RanksFollowIdsNotTheOrderOfArrival) {
  cluster_.Registered(1, Worker("b"), now_);
  cluster_.Registered(2, Worker("a"), now_);
  EXPECT_THAT(cluster_.members(), ElementsAre(2, 1));
}

TEST_F(Epochs, AnswersOfAnOlderEpochAreIgnored) {
  Serve();
  EXPECT_TRUE(cluster_.Closed(2, now_).stop_work);
  EXPECT_TRUE(cluster_.Registered(3, Worker("b", 2), now_).begin_epoch);
  EXPECT_EQ(cluster_.epoch(), 2u);
  v1::ConfigureDone old;
  old.set_epoch(1);
  cluster_.ConfigureDone(1, old, now_);
  EXPECT_FALSE(Ready(3).began_serving) << "worker a answered for epoch 1 only";
  v1::Fault fault;
  fault.set_epoch(1);
  EXPECT_FALSE(cluster_.Fault(1, fault, now_).stop_work);
  EXPECT_TRUE(Ready(1).began_serving);
}

TEST_F(Epochs, ClosedStreamBreaksAtOnceAndSurvivorsGoOnAfterTheGrace) {
  Serve();
  EXPECT_TRUE(cluster_.Closed(2, now_).stop_work);
  EXPECT_EQ(cluster_.phase(), ClusterPhase::kRecovering);
  EXPECT_THAT(cluster_.reason(), HasSubstr("worker b is gone"));
  EXPECT_EQ(cluster_.recoveries(), 1);
  const TimePoint broken = now_;
  EXPECT_TRUE(Wait(Millis(10000), {1}).begin_epoch);
  EXPECT_GE(now_ - broken, Millis(3000));
  EXPECT_LE(now_ - broken, Millis(3020));
  EXPECT_THAT(cluster_.members(), ElementsAre(1));
  EXPECT_EQ(cluster_.epoch(), 2u);
}

TEST_F(Epochs, SilentWorkerIsDeadAfterTheTimeout) {
  Serve();
  const TimePoint last = now_;
  const ClusterActions actions = Wait(Millis(10000), {1});
  EXPECT_TRUE(actions.stop_work);
  EXPECT_THAT(actions.close, ElementsAre(2));
  EXPECT_GE(now_ - last, Millis(2500));
  EXPECT_LE(now_ - last, Millis(2540));
  EXPECT_THAT(cluster_.reason(), HasSubstr("worker b is silent"));
  EXPECT_FALSE(cluster_.Beat(2, {}, now_).begin_epoch) << "a dead one's beat changes nothing";
  EXPECT_EQ(cluster_.find(2)->state, WorkerState::kGone);
  EXPECT_FALSE(cluster_.Closed(2, now_).stop_work) << "its stream closes later";
}

TEST_F(Epochs, OwnStallIsNobodysSilence) {
  Serve();
  Wait(Millis(100), {1, 2});
  now_ += Millis(20000);  // this process was stopped
  EXPECT_FALSE(cluster_.Tick(false, now_).stop_work);
  EXPECT_EQ(cluster_.phase(), ClusterPhase::kServing);
  EXPECT_TRUE(Wait(Millis(3000), {1}).stop_work) << "silence since then still counts";
}

TEST_F(Epochs, StepThatNobodyGetsOnWith) {
  Serve();
  cluster_.StepSent(now_);
  const TimePoint sent = now_;
  EXPECT_TRUE(Wait(Millis(100000), {1, 2}, /*in_flight=*/true).stop_work);
  EXPECT_GE(now_ - sent, Millis(60000));
  EXPECT_THAT(cluster_.reason(), HasSubstr("step"));
}

TEST_F(Epochs, SameIdOverANewConnectionReplacesTheOldOne) {
  Serve();
  const ClusterActions actions = cluster_.Registered(3, Worker("b"), now_);
  EXPECT_TRUE(actions.stop_work);
  EXPECT_TRUE(actions.begin_epoch);
  EXPECT_THAT(actions.close, ElementsAre(2));
  EXPECT_THAT(cluster_.members(), ElementsAre(1, 3));
  EXPECT_FALSE(cluster_.Closed(2, now_).stop_work) << "the stale stream closes later";
  EXPECT_EQ(cluster_.workers().size(), 2u);
}

TEST_F(Epochs, SpareWorkerWaitsAndTakesOver) {
  Serve();
  const ClusterActions spare = cluster_.Registered(3, Worker("c"), now_);
  EXPECT_FALSE(spare.stop_work || spare.begin_epoch);
  EXPECT_FALSE(cluster_.Closed(3, now_).stop_work);
  cluster_.Registered(4, Worker("c", 2), now_);
  EXPECT_TRUE(cluster_.Closed(1, now_).stop_work);
  EXPECT_TRUE(cluster_.Tick(false, now_).begin_epoch) << "complete at once, no grace needed";
  EXPECT_THAT(cluster_.members(), ElementsAre(2, 4));
}

TEST_F(Epochs, MissingWorkerComesBackIntoAServingCluster) {
  Serve();
  cluster_.Closed(2, now_);
  Wait(Millis(4000), {1});
  EXPECT_TRUE(Ready(1).began_serving);
  const ClusterActions back = cluster_.Registered(3, Worker("b", 2), now_);
  EXPECT_TRUE(back.join);
  EXPECT_FALSE(back.stop_work) << "the step in flight is not lost";
  EXPECT_TRUE(cluster_.Join(now_).stop_work);
  EXPECT_EQ(cluster_.recoveries(), 1) << "of the death, not of the return";
  EXPECT_TRUE(cluster_.Tick(false, now_).begin_epoch);
  EXPECT_THAT(cluster_.members(), ElementsAre(1, 3));
  Ready(1);
  EXPECT_TRUE(Ready(3).began_serving);
  EXPECT_FALSE(cluster_.Join(now_).stop_work) << "nobody waits any more";
}

TEST_F(Epochs, LeavingWorkerIsLeftOutAndComesBackAnew) {
  Serve();
  EXPECT_TRUE(cluster_.SetLeaving(2, now_).stop_work);
  EXPECT_FALSE(cluster_.SetLeaving(2, now_).stop_work) << "said twice";
  EXPECT_TRUE(cluster_.Tick(false, now_).begin_epoch) << "without the grace of a death";
  EXPECT_THAT(cluster_.members(), ElementsAre(1));
  EXPECT_TRUE(Ready(1).began_serving);
  EXPECT_FALSE(cluster_.Closed(2, now_).stop_work) << "it may end now";
  EXPECT_EQ(cluster_.recoveries(), 0) << "nothing failed";
  EXPECT_TRUE(cluster_.Registered(3, Worker("b", 2), now_).join);
  EXPECT_TRUE(cluster_.Join(now_).stop_work);
  EXPECT_TRUE(cluster_.Tick(false, now_).begin_epoch);
  EXPECT_THAT(cluster_.members(), ElementsAre(1, 3));
  EXPECT_EQ(cluster_.recoveries(), 0);
}

TEST_F(Epochs, LeavingWorkerThatDiesInTheMiddleIsNoReasonToWait) {
  Serve();
  cluster_.SetLeaving(1, now_);
  EXPECT_TRUE(cluster_.Tick(false, now_).begin_epoch);
  EXPECT_FALSE(cluster_.Closed(1, now_).stop_work);
  EXPECT_TRUE(Ready(2).began_serving);
}

TEST_F(Epochs, LastWorkerThatLeavesIsNotReplacedByNobody) {
  Serve();
  cluster_.SetLeaving(1, now_);
  cluster_.Tick(false, now_);
  Ready(2);
  EXPECT_TRUE(absl::IsFailedPrecondition(cluster_.CheckDrain("b", true)));
}

TEST_F(Epochs, ClientsLearnNothingOfTheInside) {
  Serve();
  v1::Fault fault;
  fault.set_epoch(1);
  fault.set_message("connect to 10.0.0.3:4123: reset");
  cluster_.Fault(1, fault, now_);
  EXPECT_THAT(cluster_.reason(), HasSubstr("10.0.0.3"));
  EXPECT_EQ(cluster_.reason_for_clients(), "worker a failed");
}

TEST_F(Epochs, FaultOfAMemberBreaksAndItStays) {
  Serve();
  v1::Fault fault;
  fault.set_epoch(1);
  fault.set_message("a peer vanished");
  EXPECT_TRUE(cluster_.Fault(1, fault, now_).stop_work);
  EXPECT_FALSE(cluster_.Fault(2, fault, now_).stop_work) << "the second says the same";
  EXPECT_THAT(cluster_.reason(), HasSubstr("a peer vanished"));
  EXPECT_TRUE(cluster_.Tick(false, now_).begin_epoch);
  EXPECT_THAT(cluster_.members(), ElementsAre(1, 2));
}

TEST_F(Epochs, RefusedConfigureIsTriedAgainLater) {
  cluster_.Registered(1, Worker("a"), now_);
  cluster_.Registered(2, Worker("b"), now_);
  v1::ConfigureDone no;
  no.set_epoch(1);
  no.set_code(8);
  no.set_message("no memory");
  EXPECT_TRUE(cluster_.ConfigureDone(1, no, now_).stop_work);
  EXPECT_THAT(cluster_.reason(), HasSubstr("worker a: no memory"));
  EXPECT_FALSE(cluster_.Tick(false, now_).begin_epoch);
  EXPECT_TRUE(Wait(Millis(2100), {1, 2}).begin_epoch);
  EXPECT_EQ(cluster_.epoch(), 2u);
}

TEST_F(Epochs, RefusedPlacementUsesUpNoEpoch) {
  cluster_.Registered(1, Worker("a"), now_);
  EXPECT_TRUE(cluster_.Registered(2, Worker("b"), now_).begin_epoch);
  cluster_.PlacementRefused("too small", now_);
  EXPECT_EQ(cluster_.epoch(), 0u);
  EXPECT_EQ(cluster_.reason(), "too small");
  EXPECT_EQ(cluster_.phase(), ClusterPhase::kWaiting);
  EXPECT_EQ(cluster_.find(1)->state, WorkerState::kRegistered) << "it loads nothing";
  EXPECT_FALSE(cluster_.Tick(false, now_ + Millis(100)).begin_epoch);
  EXPECT_TRUE(cluster_.Registered(3, Worker("c"), now_).begin_epoch) << "who comes may suffice";
  EXPECT_EQ(cluster_.epoch(), 1u);
}

TEST_F(Epochs, DrainedWorkerIsLeftOutUntilItReturns) {
  Serve();
  ASSERT_TRUE(cluster_.CheckDrain("a", true).ok());
  EXPECT_TRUE(cluster_.SetDrained("a", true, now_).stop_work);
  EXPECT_TRUE(cluster_.Tick(false, now_).begin_epoch) << "without the grace of a death";
  EXPECT_THAT(cluster_.members(), ElementsAre(2));
  EXPECT_TRUE(Ready(2).began_serving);
  EXPECT_EQ(cluster_.recoveries(), 0) << "nothing failed";
  EXPECT_FALSE(cluster_.SetDrained("a", true, now_).stop_work) << "said twice";

  EXPECT_FALSE(cluster_.Closed(1, now_).stop_work) << "it may be stopped now";
  EXPECT_FALSE(cluster_.Registered(3, Worker("a", 7), now_).stop_work) << "it stays drained";
  EXPECT_FALSE(Wait(Millis(10000), {2, 3}).begin_epoch);

  EXPECT_TRUE(cluster_.SetDrained("a", false, now_).stop_work);
  EXPECT_TRUE(cluster_.Tick(false, now_).begin_epoch);
  EXPECT_THAT(cluster_.members(), ElementsAre(3, 2));
}

TEST_F(Epochs, LastWorkerIsNotDrained) {
  Serve();
  EXPECT_TRUE(absl::IsNotFound(cluster_.CheckDrain("c", true)));
  cluster_.SetDrained("a", true, now_);
  EXPECT_TRUE(absl::IsFailedPrecondition(cluster_.CheckDrain("b", true)));
  EXPECT_TRUE(cluster_.CheckDrain("b", false).ok());
  EXPECT_FALSE(cluster_.SetDrained("b", true, now_).stop_work);
  EXPECT_FALSE(cluster_.drained("b"));
}

TEST_F(Epochs, DeathBesideADrainedWorkerWaitsForAReplacementAsEver) {
  Serve();
  cluster_.SetDrained("a", true, now_);
  cluster_.Tick(false, now_);
  Ready(2);
  EXPECT_TRUE(cluster_.Closed(2, now_).stop_work);
  EXPECT_FALSE(Wait(Millis(10000), {1}).begin_epoch) << "nobody is left that may work";
  EXPECT_TRUE(cluster_.Registered(3, Worker("b", 9), now_).begin_epoch);
  EXPECT_THAT(cluster_.members(), ElementsAre(3));
}

TEST_F(Epochs, LoadProgressOfThisEpochOnly) {
  Serve();
  v1::LoadProgress progress;
  progress.set_epoch(7);
  progress.set_bytes_done(5);
  cluster_.Loaded(1, progress, now_);
  EXPECT_EQ(cluster_.find(1)->bytes_done, 0u);
  progress.set_epoch(1);
  cluster_.Loaded(1, progress, now_);
  EXPECT_EQ(cluster_.find(1)->bytes_done, 5u);
  EXPECT_EQ(cluster_.find(99), nullptr);
}

}  // namespace
}  // namespace headlong
