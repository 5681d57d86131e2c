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

grpc::ServerUnaryReactor* AdminService::GetPlacement(grpc::CallbackServerContext* context,
                                                     const v1::GetPlacementRequest*,
                                                     v1::GetPlacementResponse* response) {
  return OnEngine(engine_, context, [this, response] { return engine_.Describe(*response); });
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
