#include "coordinator/admin_service.h"

#include <utility>

#include "common/status.h"
#include "coordinator/placement.h"
#include "coordinator/placement_report.h"
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

AdminService::AdminService(Engine* engine) : engine_(*engine) {
  thread_ = std::thread([this] {
    while (!stop_) long_works_.Run(absl::Milliseconds(50));
  });
}

AdminService::~AdminService() {
  stop_ = true;
  thread_.join();
}

grpc::ServerUnaryReactor* AdminService::OffEngine(
    grpc::CallbackServerContext* context, std::function<absl::StatusOr<LongWork>()> prepare) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  engine_.Post([this, reactor, prepare = std::move(prepare)] {
    absl::StatusOr<LongWork> work = prepare();
    if (!work.ok()) return reactor->Finish(ToGrpc(work.status()));
    long_works_.Post([reactor, work = *std::move(work)] { reactor->Finish(ToGrpc(work())); });
  });
  return reactor;
}

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
  return OnEngine(engine_, context, [this, request] { return engine_.Drain(*request); });
}

grpc::ServerUnaryReactor* AdminService::GetPlacement(grpc::CallbackServerContext* context,
                                                     const v1::GetPlacementRequest*,
                                                     v1::GetPlacementResponse* response) {
  return OffEngine(context, [this, response]() -> absl::StatusOr<LongWork> {
    ASSIGN_OR_RETURN(const PlacementProblem problem, engine_.Describe(*response));
    return LongWork([problem, response] {
      *response->mutable_report() = FullReport(problem, response->placement());
      return absl::OkStatus();
    });
  });
}

grpc::ServerUnaryReactor* AdminService::ApplyPlacement(grpc::CallbackServerContext* context,
                                                       const v1::ApplyPlacementRequest* request,
                                                       v1::ApplyPlacementResponse* response) {
  return OnEngine(engine_, context, [this, request, response] {
    const absl::StatusOr<uint64_t> ended = engine_.ApplyPlacement(*request);
    if (ended.ok()) response->set_epoch(*ended);
    return ended.status();
  });
}

grpc::ServerUnaryReactor* AdminService::ApplyPlan(grpc::CallbackServerContext* context,
                                                  const v1::ApplyPlanRequest* request,
                                                  v1::ApplyPlanResponse* response) {
  return OnEngine(engine_, context, [this, request, response] {
    const absl::StatusOr<uint64_t> ended = engine_.ApplyPlan(request->plan_json());
    if (ended.ok()) response->set_epoch(*ended);
    return ended.status();
  });
}

grpc::ServerUnaryReactor* AdminService::PlanPlacement(grpc::CallbackServerContext* context,
                                                      const v1::PlanPlacementRequest* request,
                                                      v1::PlanPlacementResponse* response) {
  return OffEngine(context, [this, request, response]() -> absl::StatusOr<LongWork> {
    ASSIGN_OR_RETURN(const PlacementProblem problem, engine_.ProblemNow(*request, *response));
    return LongWork([problem, response]() -> absl::Status {
      const uint64_t epoch = response->placement().epoch();
      ASSIGN_OR_RETURN(*response->mutable_placement(), Place(problem));
      response->mutable_placement()->set_epoch(epoch);
      *response->mutable_report() = FullReport(problem, response->placement());
      return absl::OkStatus();
    });
  });
}

grpc::ServerUnaryReactor* AdminService::ListEpochs(grpc::CallbackServerContext* context,
                                                   const v1::ListEpochsRequest*,
                                                   v1::ListEpochsResponse* response) {
  return OnEngine(engine_, context, [this, response] {
    engine_.history().Describe(*response);
    return absl::OkStatus();
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
  return OnEngine(engine_, context, [this, request] {
    return engine_.Cancel(request->request_id(), request->dry_run());
  });
}

}  // namespace headlong
