#include "coordinator/admin_service.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "absl/strings/escaping.h"
#include "common/sha256.h"
#include "common/status.h"
#include "coordinator/call_tags.h"
#include "coordinator/late_reader.h"
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

// What somebody sent, fit for one line of a log.
std::string Quoted(const std::string& text) {
  return absl::StrCat("\"", absl::CEscape(text.substr(0, 64)), "\"");
}

const char* DryRun(bool dry_run) { return dry_run ? " dry_run=true" : ""; }

std::string HashOf(const std::string& document) {
  Sha256 hash;
  hash.Update(document);
  return absl::StrCat("sha256=", hash.HexDigest());
}

}  // namespace

AdminService::AdminService(Engine* engine, const std::shared_ptr<TokenFile>* tokens)
    : engine_(*engine), tokens_(*tokens) {
  // Their documents are long.
  const auto& file = *v1::ApplyPlanRequest::descriptor()->file();
  MarkMethodStreamed(MethodIndex(file, "Admin", "ApplyPlacement"),
                     LateUnary(this, &AdminService::ApplyPlacement));
  MarkMethodStreamed(MethodIndex(file, "Admin", "ApplyPlan"),
                     LateUnary(this, &AdminService::ApplyPlan));
  thread_ = std::thread([this] {
    while (!stop_) long_works_.Run(absl::Milliseconds(50));
  });
}

AdminService::~AdminService() {
  stop_ = true;
  thread_.join();
}

grpc::ServerUnaryReactor* AdminService::Audited(grpc::CallbackServerContext* context,
                                                const std::string& what,
                                                std::function<absl::Status()> change) {
  const absl::StatusOr<Caller> caller = CallerOf(context->client_metadata(), tokens_.get());
  const std::string name = caller.ok() && !caller->name.empty() ? caller->name : "somebody";
  const std::string call =
      absl::StrCat(name, " called /headlong.v1.Admin/", what, " from ", context->peer());
  return OnEngine(engine_, context, [this, call, change = std::move(change)] {
    const uint64_t epoch = engine_.epoch();
    const absl::Status done = change();
    spdlog::info("audit: {} in epoch {}: {}", call, epoch, done.ok() ? "OK" : done.ToString());
    return done;
  });
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
  const std::string what =
      absl::StrCat("DrainWorker worker_id=", Quoted(request->worker_id()),
                   " back=", request->back() ? "true" : "false", DryRun(request->dry_run()));
  return Audited(context, what, [this, request] { return engine_.Drain(*request); });
}

grpc::ServerUnaryReactor* AdminService::GetPlacement(grpc::CallbackServerContext* context,
                                                     const v1::GetPlacementRequest* request,
                                                     v1::GetPlacementResponse* response) {
  return OffEngine(context, [this, request, response]() -> absl::StatusOr<LongWork> {
    ASSIGN_OR_RETURN(const PlacementProblem problem, engine_.Describe(*request, *response));
    return LongWork([problem, response] {
      *response->mutable_report() = Recount(problem, *response->mutable_placement());
      return absl::OkStatus();
    });
  });
}

grpc::ServerUnaryReactor* AdminService::ApplyPlacement(grpc::CallbackServerContext* context,
                                                       const v1::ApplyPlacementRequest* request,
                                                       v1::ApplyPlacementResponse* response) {
  const std::string what =
      absl::StrCat("ApplyPlacement check_epoch=", request->check_epoch(), " ",
                   HashOf(request->placement_json()), DryRun(request->dry_run()));
  return Audited(context, what, [this, request, response] {
    const absl::StatusOr<uint64_t> ended = engine_.ApplyPlacement(*request);
    if (ended.ok()) response->set_epoch(*ended);
    return ended.status();
  });
}

grpc::ServerUnaryReactor* AdminService::ApplyPlan(grpc::CallbackServerContext* context,
                                                  const v1::ApplyPlanRequest* request,
                                                  v1::ApplyPlanResponse* response) {
  const std::string what = absl::StrCat("ApplyPlan ", HashOf(request->plan_json()));
  return Audited(context, what, [this, request, response] {
    const absl::StatusOr<uint64_t> ended = engine_.ApplyPlan(*request);
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

grpc::ServerUnaryReactor* AdminService::TraceRequest(grpc::CallbackServerContext* context,
                                                     const v1::TraceRequestRequest* request,
                                                     v1::TraceRequestResponse* response) {
  return OnEngine(engine_, context, [this, request, response] {
    const TimePoint now = std::chrono::steady_clock::now();
    ASSIGN_OR_RETURN(*response->mutable_trace(), engine_.traces().Find(request->request_id(), now));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::CancelRequest(grpc::CallbackServerContext* context,
                                                      const v1::CancelRequestRequest* request,
                                                      v1::CancelRequestResponse*) {
  const std::string what = absl::StrCat("CancelRequest request_id=", Quoted(request->request_id()),
                                        DryRun(request->dry_run()));
  return Audited(context, what, [this, request] {
    return engine_.Cancel(request->request_id(), request->dry_run());
  });
}

}  // namespace headlong
