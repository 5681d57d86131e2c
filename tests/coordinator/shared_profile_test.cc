// What workers measured of steps that they computed together, in the model of placements.
#include <gtest/gtest.h>

#include "coordinator/placement_report.h"
#include "tests/coordinator/coordinator_fixture.h"
#include "tests/coordinator/placement_case.h"

namespace headlong {
namespace {

TEST(FixedTimes, AreInTheStepAndInItsBound) {
  const ModelConfig config = SmallModel();
  const Plan plan = SmallPlan();
  PlacementProblem problem = SmallProblem(config, plan, {int64_t{64} << 20, int64_t{64} << 20});
  const auto before = Place(problem);
  problem.workers[0].layer_s = 1e-3;
  problem.workers[1].layer_s = 2e-3;
  problem.link.step_s = 5e-3;
  const auto after = Place(problem);
  ASSERT_TRUE(before.ok() && after.ok()) << before.status() << after.status();
  const double fixed_ms = 4 * 2 + 5;  // a layer waits for its slowest worker
  EXPECT_NEAR(after->step_ms() - before->step_ms(), fixed_ms, 1e-6);
  EXPECT_NEAR(after->lower_bound_ms() - before->lower_bound_ms(), fixed_ms, 1e-6);
  const v1::PlacementReport report = ReportOf(problem, *after);
  EXPECT_NEAR(report.fixed_ms(), fixed_ms, 1e-9);
  EXPECT_NEAR(StepMillis(report), after->step_ms(), 1e-6);
}

class SharedProfiles : public WithCoordinator {
 protected:
  // The first worker reached `share` times what the second did.
  void Begin(double layer_s, double other_layer_s, double share = 1, double sums_ms = 0) {
    Start(2);
    FakeWorkerOptions options;
    options.shared.set_weights_per_s(1e9);
    options.shared.set_read_bytes_per_s(2e9);
    options.shared.set_layer_s(layer_s);
    options.shared.set_sum_s(30e-6);
    options.sums_ms = 2 * sums_ms;
    workers_.push_back(Worker(options));
    options.id = "w1";
    options.pid = 2;
    options.shared.set_read_bytes_per_s(2e9 / share);
    options.shared.set_layer_s(other_layer_s);
    options.shared.set_sum_s(20e-6);
    options.sums_ms = sums_ms;
    workers_.push_back(Worker(options));
    ASSERT_TRUE(Eventually([&] { return Cluster().state() == "serving"; }));
  }

  grpc::Status Show(uint64_t context, double concurrency) {
    grpc::ClientContext call;
    v1::GetPlacementRequest request;
    request.set_context(context);
    request.set_concurrency(concurrency);
    shown_.Clear();
    return admin_->GetPlacement(&call, request, &shown_);
  }

  std::vector<std::unique_ptr<FakeWorker>> workers_;
  v1::GetPlacementResponse shown_;
};

TEST_F(SharedProfiles, AreWhatAPlacementIsModelledWith) {
  Begin(1e-3, 3e-3);
  ASSERT_TRUE(Show(1000, 1).ok());
  EXPECT_EQ(shown_.report().context(), 1000u);
  EXPECT_EQ(shown_.report().concurrency(), 1);
  EXPECT_NEAR(shown_.report().fixed_ms(), 8 * 3, 1e-9) << "the slower one's, in eight layers";
  EXPECT_NEAR(shown_.report().sums_ms(), 17 * 20e-3, 0.1)
      << "a sum takes what it takes for the worker that comes last";
  const double shorter = shown_.report().attention_ms();
  ASSERT_TRUE(Show(2000, 2).ok());
  EXPECT_GT(shown_.report().attention_ms(), shorter);
  EXPECT_NEAR(shown_.placement().step_ms(), StepMillis(shown_.report()), 1e-9);
  EXPECT_LE(shown_.placement().lower_bound_ms(), shown_.placement().step_ms());
  EXPECT_GT(shown_.placement().lower_bound_ms(), 24);
}

// The workers say the same of themselves alone; together one was put aside.
TEST_F(SharedProfiles, ChanceBetweenWorkersOfAHostMovesNothing) {
  Begin(0, 0, /*share=*/3);
  ASSERT_TRUE(Show(1000, 1).ok());
  ASSERT_EQ(shown_.placement().workers_size(), 2);
  double attention_ms[2] = {};
  for (int i = 0; i < 2; ++i) {
    for (const double ms : shown_.report().workers(i).attention_ms()) attention_ms[i] += ms;
  }
  EXPECT_NEAR(attention_ms[0] / attention_ms[1], 1, 0.2);
}

TEST_F(SharedProfiles, AWorkloadBeyondTheServersIsRefused) {
  Begin(0, 0);
  EXPECT_EQ(Show(2049, 1).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Show(10, 5).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Show(10, -1).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(SharedProfiles, StepsThatRanTellWhatTheWireTakes) {
  Begin(0, 0);
  Call call(*inference_, Request({0, 17, 23}, 20));
  ASSERT_TRUE(call.ReadAll().ok());
  ASSERT_TRUE(Show(1000, 1).ok());
  EXPECT_GT(shown_.report().fixed_ms(), 0) << "fake workers compute nothing: all of it is wire";
}

TEST_F(SharedProfiles, StepsThatRanTellWhatSumsTake) {
  Begin(0, 0, /*share=*/1, /*sums_ms=*/34);
  ASSERT_TRUE(Show(1000, 1).ok());
  EXPECT_NEAR(shown_.report().sums_ms(), 17 * 20e-3, 0.1) << "as in dry steps";
  Call prompt(*inference_, Request({0, 17, 23}, 1));
  ASSERT_TRUE(prompt.ReadAll().ok());
  ASSERT_TRUE(Show(1000, 1).ok());
  EXPECT_NEAR(shown_.report().sums_ms(), 17 * 20e-3, 0.1) << "that step had three rows";
  Call call(*inference_, Request({0, 17, 23}, 20));
  ASSERT_TRUE(call.ReadAll().ok());
  ASSERT_TRUE(Show(1000, 1).ok());
  EXPECT_NEAR(shown_.report().sums_ms(), 34, 0.1) << "of the worker that waits least";
}

}  // namespace
}  // namespace headlong
