#include "cli/cluster_move.h"

#include "gtest/gtest.h"

namespace headlong {
namespace {

bool Done(bool back, const char* state, uint64_t epoch, const char* cluster_state) {
  v1::ListWorkersResponse workers;
  v1::Worker& worker = *workers.add_workers();
  worker.set_id("w1");
  worker.set_state(state);
  worker.set_epoch(epoch);
  v1::GetClusterResponse cluster;
  cluster.set_state(cluster_state);
  cluster.set_epoch(4);
  return MoveIsDone({.worker_id = "w1", .back = back}, workers, cluster);
}

TEST(ClusterMoveTest, DrainIsDoneWhenTheOthersServe) {
  EXPECT_FALSE(Done(false, "ready", 4, "serving")) << "not begun yet";
  EXPECT_FALSE(Done(false, "drained", 3, "loading"));
  EXPECT_TRUE(Done(false, "drained", 3, "serving"));
}

TEST(ClusterMoveTest, ReturnIsDoneWhenTheWorkerServesInTheEpochInForce) {
  EXPECT_FALSE(Done(true, "drained", 3, "serving"));
  EXPECT_FALSE(Done(true, "loading", 3, "loading"));
  EXPECT_FALSE(Done(true, "registered", 3, "serving"));
  EXPECT_TRUE(Done(true, "ready", 4, "serving"));
}

TEST(ClusterMoveTest, WhoIsGoneIsNotWaitedFor) {
  EXPECT_TRUE(Done(true, "gone", 3, "serving"));
  EXPECT_TRUE(Done(false, "gone", 3, "serving"));
}

TEST(ClusterMoveTest, PlacementIsInForceInALaterEpoch) {
  v1::GetClusterResponse cluster;
  cluster.set_state("serving");
  cluster.set_epoch(4);
  EXPECT_FALSE(MoveIsDone({.worker_id = "", .ended = 4}, {}, cluster));
  EXPECT_TRUE(MoveIsDone({.worker_id = "", .ended = 3}, {}, cluster));
  cluster.set_state("loading");
  EXPECT_FALSE(MoveIsDone({.worker_id = "", .ended = 3}, {}, cluster));
}

}  // namespace
}  // namespace headlong
