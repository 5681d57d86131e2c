// The services of a fake server: they answer what the test puts in. The tokenizer makes one token
// of every byte; token 256 is the BOS. Fields are set before the first call.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "headlong/v1/admin.grpc.pb.h"
#include "headlong/v1/inference.grpc.pb.h"

namespace headlong {

inline constexpr uint32_t kFakeBos = 256;

class FakeInference final : public v1::Inference::Service {
 public:
  using Writer = grpc::ServerWriter<v1::GenerateResponse>;
  using Generator =
      std::function<grpc::Status(grpc::ServerContext*, const v1::GenerateRequest&, Writer*)>;

  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        Writer* writer) override {
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(*request);
    }
    return generator(context, *request, writer);
  }
  grpc::Status Tokenize(grpc::ServerContext*, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override {
    if (request->add_special_tokens()) response->add_token_ids(kFakeBos);
    for (const unsigned char byte : request->text()) response->add_token_ids(byte);
    return grpc::Status::OK;
  }
  grpc::Status Detokenize(grpc::ServerContext*, const v1::DetokenizeRequest* request,
                          v1::DetokenizeResponse* response) override {
    for (const uint32_t id : request->token_ids()) {
      if (id < kFakeBos) response->mutable_text()->push_back(static_cast<char>(id));
      if (id == kFakeBos && request->keep_special_tokens()) response->mutable_text()->append("<s>");
    }
    return grpc::Status::OK;
  }
  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest*,
                        v1::GetModelResponse* response) override {
    *response = model;
    return grpc::Status::OK;
  }

  std::vector<v1::GenerateRequest> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

  Generator generator;  // set before the first call
  v1::GetModelResponse model;

 private:
  std::mutex mutex_;
  std::vector<v1::GenerateRequest> requests_;
};

class FakeAdmin final : public v1::Admin::Service {
 public:
  grpc::Status GetCluster(grpc::ServerContext*, const v1::GetClusterRequest*,
                          v1::GetClusterResponse* response) override {
    *response = cluster;
    return status;
  }
  grpc::Status ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                           v1::ListWorkersResponse* response) override {
    *response = workers;
    return status;
  }
  grpc::Status GetPlacement(grpc::ServerContext*, const v1::GetPlacementRequest*,
                            v1::GetPlacementResponse* response) override {
    *response = placement;
    return status;
  }
  grpc::Status PlanPlacement(grpc::ServerContext*, const v1::PlanPlacementRequest* request,
                             v1::PlanPlacementResponse* response) override {
    plan_request = *request;
    *response->mutable_placement() = placement.placement();
    response->set_layers(placement.layers());
    response->set_kv_heads(placement.kv_heads());
    return status;
  }
  grpc::Status ListRequests(grpc::ServerContext*, const v1::ListRequestsRequest*,
                            v1::ListRequestsResponse* response) override {
    *response = requests;
    return status;
  }
  grpc::Status CancelRequest(grpc::ServerContext*, const v1::CancelRequestRequest* request,
                             v1::CancelRequestResponse*) override {
    if (request->request_id() == "known") return grpc::Status::OK;
    return {grpc::StatusCode::NOT_FOUND, "no request " + request->request_id()};
  }

  v1::GetClusterResponse cluster;
  v1::ListWorkersResponse workers;
  v1::GetPlacementResponse placement;
  v1::PlanPlacementRequest plan_request;  // the last one
  v1::ListRequestsResponse requests;
  grpc::Status status;
};

}  // namespace headlong
