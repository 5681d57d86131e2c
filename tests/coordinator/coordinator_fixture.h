// A coordinator in this process over the embedded model, fake workers, and a client, all over real
// gRPC on loopback. One thread.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "coordinator/coordinator.h"
#include "grpcpp/grpcpp.h"
#include "headlong/v1/admin.grpc.pb.h"
#include "headlong/v1/inference.grpc.pb.h"
#include "tests/coordinator/generate_call.h"
#include "tests/fakes/fake_worker.h"
#include "tests/support/paths.h"

namespace headlong {

class WithCoordinator : public testing::Test {
 protected:
  void Start(int workers, milliseconds rejoin_grace = milliseconds(100),
             const std::string& moves = "auto") {
    CoordinatorOptions options;
    options.moves = moves;
    options.model_dir = SourceDir() / "models" / "needle-10m";
    options.listen = "127.0.0.1:0";
    options.worker_listen = "127.0.0.1:0";
    options.expected_workers = workers;
    options.max_context = 2048;
    options.max_sequences = 4;
    options.max_batch_tokens = 64;
    options.rejoin_grace = rejoin_grace;
    options.ends_workers = ends_workers_;
    auto started = Coordinator::Start(options);
    ASSERT_TRUE(started.ok()) << started.status();
    coordinator_ = *std::move(started);
    channel_ =
        grpc::CreateChannel(coordinator_->client_address(), grpc::InsecureChannelCredentials());
    inference_ = v1::Inference::NewStub(channel_);
    admin_ = v1::Admin::NewStub(channel_);
    grpc::ClientContext context;
    v1::GetModelResponse model;
    ASSERT_TRUE(inference_->GetModel(&context, {}, &model).ok());
    fingerprint_ = model.shape().fingerprint();
  }

  std::unique_ptr<FakeWorker> Worker(FakeWorkerOptions options) {
    options.fingerprint = fingerprint_;
    return std::make_unique<FakeWorker>(coordinator_->worker_address(), options);
  }

  v1::GetClusterResponse Cluster() {
    grpc::ClientContext context;
    v1::GetClusterResponse cluster;
    EXPECT_TRUE(admin_->GetCluster(&context, {}, &cluster).ok());
    return cluster;
  }

  grpc::Status Drain(const std::string& id, bool back = false) {
    grpc::ClientContext context;
    v1::DrainWorkerRequest request;
    request.set_worker_id(id);
    request.set_back(back);
    v1::DrainWorkerResponse response;
    return admin_->DrainWorker(&context, request, &response);
  }

  v1::ListRequestsResponse Requests() {
    grpc::ClientContext context;
    v1::ListRequestsResponse requests;
    EXPECT_TRUE(admin_->ListRequests(&context, {}, &requests).ok());
    return requests;
  }

  grpc::Status CancelById(const std::string& id) {
    grpc::ClientContext context;
    v1::CancelRequestRequest request;
    request.set_request_id(id);
    v1::CancelRequestResponse response;
    return admin_->CancelRequest(&context, request, &response);
  }

  static v1::GenerateRequest Request(const std::vector<uint32_t>& prompt, int max_tokens) {
    v1::GenerateRequest request;
    request.mutable_token_ids()->mutable_ids()->Add(prompt.begin(), prompt.end());
    request.set_max_tokens(max_tokens);
    request.set_ignore_eos(true);
    return request;
  }

  // Polls until `reached`; false after ten seconds.
  template <typename Condition>
  static bool Eventually(const Condition& reached) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!reached()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return true;
  }

  std::unique_ptr<Coordinator> coordinator_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Inference::Stub> inference_;
  std::unique_ptr<v1::Admin::Stub> admin_;
  std::string fingerprint_;
  bool ends_workers_ = false;  // before Start
};

}  // namespace headlong
