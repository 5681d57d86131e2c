// The admin service of a fake server: it answers what the test puts in and keeps what it was asked.
// Fields are set before the first call.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

#include "headlong/v1/admin.grpc.pb.h"

namespace headlong {

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
  grpc::Status GetPlacement(grpc::ServerContext*, const v1::GetPlacementRequest* request,
                            v1::GetPlacementResponse* response) override {
    show_request = *request;
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
  grpc::Status TraceRequest(grpc::ServerContext*, const v1::TraceRequestRequest* request,
                            v1::TraceRequestResponse* response) override {
    if (request->request_id() != trace.request_id()) {
      return {grpc::StatusCode::NOT_FOUND, "no request " + request->request_id()};
    }
    *response->mutable_trace() = trace;
    return status;
  }
  grpc::Status ListEpochs(grpc::ServerContext*, const v1::ListEpochsRequest*,
                          v1::ListEpochsResponse* response) override {
    *response = epochs;
    return status;
  }
  grpc::Status DrainWorker(grpc::ServerContext*, const v1::DrainWorkerRequest* request,
                           v1::DrainWorkerResponse*) override {
    drain_request = *request;
    return status;
  }
  grpc::Status ApplyPlacement(grpc::ServerContext*, const v1::ApplyPlacementRequest* request,
                              v1::ApplyPlacementResponse* response) override {
    apply_request = *request;
    response->set_epoch(cluster.epoch());
    return status;
  }
  grpc::Status CancelRequest(grpc::ServerContext*, const v1::CancelRequestRequest* request,
                             v1::CancelRequestResponse*) override {
    cancel_request = *request;
    if (request->request_id() == "known") return grpc::Status::OK;
    return {grpc::StatusCode::NOT_FOUND, "no request " + request->request_id()};
  }

  v1::GetClusterResponse cluster;
  v1::ListWorkersResponse workers;
  v1::GetPlacementResponse placement;
  v1::GetPlacementRequest show_request;  // the last one
  v1::PlanPlacementRequest plan_request;
  v1::DrainWorkerRequest drain_request;
  v1::ApplyPlacementRequest apply_request;
  v1::CancelRequestRequest cancel_request;
  v1::ListEpochsResponse epochs;
  v1::ListRequestsResponse requests;
  v1::RequestTrace trace;
  grpc::Status status;
};

}  // namespace headlong
