// What operators see of the past: pure, and over real gRPC.
#include "coordinator/history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/version.h"
#include "common/wire.h"
#include "tests/coordinator/coordinator_fixture.h"

namespace headlong {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const TimePoint kStart{};

v1::Placement Placed(uint64_t epoch, const std::vector<std::string>& holders) {
  v1::Placement placement;
  placement.set_epoch(epoch);
  for (uint32_t head = 0; head < holders.size(); ++head) {
    v1::WorkerShare& share = *placement.add_workers();
    share.set_worker_id(holders[head]);
    share.add_heads()->set_head(head);
  }
  return placement;
}

v1::ListEpochsResponse Epochs(const History& history) {
  v1::ListEpochsResponse response;
  history.Describe(response);
  return response;
}

TEST(History, AnEpochsLife) {
  History history(kStart);
  history.Began(Placed(1, {"a", "b", "b"}), "", 1000, kStart);
  history.Serves(0, 0, kStart + Millis(1500));
  history.Ended("worker b is gone");
  history.Began(Placed(2, {"a", "a", "b"}), "worker b is gone", 2000, kStart);
  const v1::ListEpochsResponse epochs = Epochs(history);
  ASSERT_EQ(epochs.epochs_size(), 2);
  EXPECT_EQ(epochs.epochs(0).reason(), "all workers that are expected are here");
  EXPECT_EQ(epochs.epochs(0).heads_moved(), 3u) << "nobody held anything before";
  EXPECT_DOUBLE_EQ(epochs.epochs(0).seconds_to_serve(), 1.5);
  EXPECT_EQ(epochs.epochs(0).ended(), "worker b is gone");
  EXPECT_EQ(epochs.epochs(1).heads_moved(), 1u);
  EXPECT_EQ(epochs.epochs(1).heads(), 3u);
  EXPECT_EQ(epochs.epochs(1).ended(), "");
  EXPECT_EQ(epochs.epochs(1).seconds_to_serve(), 0);
}

TEST(History, ARefusalThatComesAgainIsOne) {
  History history(kStart);
  for (int i = 0; i < 3; ++i) history.CouldNotBegin(1, "", "does not fit", i);
  history.CouldNotBegin(1, "", "still does not fit", 9);
  ASSERT_EQ(Epochs(history).epochs_size(), 2);
  EXPECT_EQ(Epochs(history).epochs(0).began_unix_ms(), 0);
}

TEST(History, IsBounded) {
  History history(kStart);
  for (uint64_t epoch = 1; epoch <= 200; ++epoch) {
    history.Began(Placed(epoch, {"a"}), "again", 0, kStart);
    v1::Register stranger;
    stranger.set_worker_id(absl::StrCat("w", epoch, std::string(1000, 'x')));
    history.WorkerRefused(stranger, "no", kStart + Millis(epoch));
  }
  EXPECT_EQ(Epochs(history).epochs_size(), int{History::kMaxEpochs});
  EXPECT_EQ(Epochs(history).epochs(0).epoch(), 200u - History::kMaxEpochs + 1);
  v1::ListWorkersResponse workers;
  history.Describe(kStart + Millis(1200), workers);
  EXPECT_EQ(workers.refused_size(), int{History::kMaxRefused});
  for (const v1::RefusedWorker& refused : workers.refused()) {
    EXPECT_LE(refused.id().size(), 64u);
    EXPECT_LT(refused.age_s(), 1.2) << "the oldest go first";
  }
}

class Operators : public WithCoordinator {
 protected:
  auto SecondWorker() {
    FakeWorkerOptions options;
    options.id = "w1";
    options.pid = 2;
    return Worker(options);
  }
  v1::ListWorkersResponse Workers() {
    grpc::ClientContext context;
    v1::ListWorkersResponse workers;
    EXPECT_TRUE(admin_->ListWorkers(&context, {}, &workers).ok());
    return workers;
  }
  v1::ListEpochsResponse Epochs() {
    grpc::ClientContext context;
    v1::ListEpochsResponse epochs;
    EXPECT_TRUE(admin_->ListEpochs(&context, {}, &epochs).ok());
    return epochs;
  }
};

TEST_F(Operators, SeeWhoWasRefusedUntilItComesIn) {
  Start(1);
  FakeWorkerOptions options;
  options.fingerprint = "another";
  FakeWorker stranger(coordinator_->worker_address(), options);
  EXPECT_EQ(stranger.WaitClosed().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  const v1::ListWorkersResponse refused = Workers();
  ASSERT_EQ(refused.refused_size(), 1);
  EXPECT_EQ(refused.refused(0).id(), "w0");
  EXPECT_THAT(refused.refused(0).reason(), HasSubstr("has another model"));
  EXPECT_EQ(refused.workers_size(), 0);
  const auto worker = Worker(FakeWorkerOptions());
  ASSERT_TRUE(Eventually([&] { return Workers().workers_size() == 1; }));
  EXPECT_EQ(Workers().refused_size(), 0);
}

TEST_F(Operators, AWorkerAsksWithoutJoining) {
  Start(1);
  const auto link = v1::WorkerLink::NewStub(
      grpc::CreateChannel(coordinator_->worker_address(), grpc::InsecureChannelCredentials()));
  v1::Register registration;
  registration.set_protocol(kWireProtocol);
  registration.set_worker_id("w0");
  registration.set_model_fingerprint(fingerprint_);
  const auto ask = [&](v1::CheckRegisterResponse& welcome) {
    grpc::ClientContext context;
    return link->CheckRegister(&context, registration, &welcome);
  };
  v1::CheckRegisterResponse welcome;
  ASSERT_TRUE(ask(welcome).ok());
  EXPECT_EQ(welcome.version(), Version());
  EXPECT_EQ(welcome.fingerprint(), fingerprint_);
  EXPECT_EQ(welcome.model(), "needle-10m");
  registration.set_protocol(kWireProtocol + 1);
  const grpc::Status other = ask(welcome);
  EXPECT_EQ(other.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(other.error_message(), HasSubstr("speaks protocol"));
  EXPECT_EQ(Workers().workers_size(), 0);
  EXPECT_EQ(Workers().refused_size(), 0) << "asking is no attempt";
}

TEST_F(Operators, ADryRunIsCheckedAndChangesNothing) {
  Start(2);
  const auto first = Worker(FakeWorkerOptions());
  const auto second = SecondWorker();
  ASSERT_TRUE(Eventually([&] { return Cluster().state() == "serving"; }));
  const auto drain = [&](const std::string& id) {
    grpc::ClientContext context;
    v1::DrainWorkerRequest request;
    request.set_worker_id(id);
    request.set_dry_run(true);
    v1::DrainWorkerResponse response;
    return admin_->DrainWorker(&context, request, &response);
  };
  EXPECT_TRUE(drain("w1").ok());
  EXPECT_EQ(drain("w9").error_code(), grpc::StatusCode::NOT_FOUND);
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_EQ(Cluster().epoch(), 1u);
  const v1::ListWorkersResponse workers = Workers();
  for (const v1::Worker& worker : workers.workers()) EXPECT_EQ(worker.state(), "ready");
  Call call(*inference_, Request({0, 17, 23}, 1000));
  ASSERT_TRUE(call.ReadTokens(3));
  grpc::ClientContext context;
  v1::CancelRequestRequest request;
  request.set_request_id(Requests().requests(0).request_id());
  request.set_dry_run(true);
  v1::CancelRequestResponse response;
  EXPECT_TRUE(admin_->CancelRequest(&context, request, &response).ok());
  EXPECT_TRUE(call.ReadTokens(6)) << "it goes on";
  EXPECT_GT(Cluster().tokens_sampled(), 5u);
}

TEST_F(Operators, SeeWhyEpochsBegan) {
  Start(2);
  const auto first = Worker(FakeWorkerOptions());
  const auto second = SecondWorker();
  ASSERT_TRUE(Eventually([&] { return Cluster().state() == "serving"; }));
  ASSERT_TRUE(Drain("w1").ok());
  ASSERT_TRUE(Eventually([&] { return Cluster().state() == "serving" && Cluster().epoch() == 2; }));
  const v1::ListEpochsResponse epochs = Epochs();
  ASSERT_EQ(epochs.epochs_size(), 2);
  EXPECT_THAT(epochs.epochs(0).workers(), ElementsAre("w0", "w1"));
  EXPECT_EQ(epochs.epochs(0).ended(), "worker w1 is drained");
  EXPECT_GT(epochs.epochs(0).seconds_to_serve(), 0);
  EXPECT_EQ(epochs.epochs(1).reason(), "worker w1 is drained");
  EXPECT_THAT(epochs.epochs(1).workers(), ElementsAre("w0"));
  EXPECT_GT(epochs.epochs(1).heads_moved(), 0u);
  EXPECT_LT(epochs.epochs(1).heads_moved(), 32u);
}

}  // namespace
}  // namespace headlong
