#include "coordinator/admin_service.h"

#include <functional>

#include "coordinator/stream_queue.h"

namespace headlong {
namespace {

// Runs `answer` on the engine thread and ends the call with its status.
grpc::ServerUnaryReactor* OnEngine(Engine& engine, grpc::CallbackServerContext* context,
                                   std::function<absl::Status()> answer) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  engine.Post([reactor, answer = std::move(answer)] { reactor->Finish(ToGrpc(answer())); });
  return reactor;
}

}  // namespace

grpc::ServerUnaryReactor* AdminService::GetCluster(grpc::CallbackServerContext* context,
                                                   const v1::GetClusterRequest*,
                                                   v1::GetClusterResponse* response) {
  return OnEngine(engine_, context, [this, response] {
    engine_.Describe(*response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::ListWorkers(grpc::CallbackServerContext* context,
                                                    const v1::ListWorkersRequest*,
                                                    v1::ListWorkersResponse* response) {
  return OnEngine(engine_, context, [this, response] {
    engine_.Describe(*response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::DrainWorker(grpc::CallbackServerContext* context,
                                                    const v1::DrainWorkerRequest* request,
                                                    v1::DrainWorkerResponse*) {
  return OnEngine(engine_, context, [this, id = request->worker_id(), back = request->back()] {
    return engine_.Drain(id, !back);
  });
}

grpc::ServerUnaryReactor* AdminService::GetPlacement(grpc::CallbackServerContext* context,
                                                     const v1::GetPlacementRequest*,
                                                     v1::GetPlacementResponse* response) {
  return OnEngine(engine_, context, [this, response] { return engine_.Describe(*response); });
}

grpc::ServerUnaryReactor* AdminService::ApplyPlacement(grpc::CallbackServerContext* context,
                                                       const v1::ApplyPlacementRequest* request,
                                                       v1::ApplyPlacementResponse* response) {
  return OnEngine(engine_, context, [this, request, response] {
    const absl::StatusOr<uint64_t> ended =
        engine_.ApplyPlacement(request->placement_json(), request->check_epoch());
    if (ended.ok()) response->set_epoch(*ended);
    return ended.status();
  });
}

grpc::ServerUnaryReactor* AdminService::PlanPlacement(grpc::CallbackServerContext* context,
                                                      const v1::PlanPlacementRequest* request,
                                                      v1::PlanPlacementResponse* response) {
  return OnEngine(engine_, context, [this, request = *request, response] {
    return engine_.PlanNow(request, *response);
  });
}

grpc::ServerUnaryReactor* AdminService::ListRequests(grpc::CallbackServerContext* context,
                                                     const v1::ListRequestsRequest*,
                                                     v1::ListRequestsResponse* response) {
  return OnEngine(engine_, context, [this, response] {
    engine_.Describe(*response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::CancelRequest(grpc::CallbackServerContext* context,
                                                      const v1::CancelRequestRequest* request,
                                                      v1::CancelRequestResponse*) {
  return OnEngine(engine_, context,
                  [this, id = request->request_id()] { return engine_.Cancel(id); });
}

}  // namespace headlong
