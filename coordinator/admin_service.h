// headlong.v1.Admin over gRPC: every call is answered on the engine thread, but what takes long,
// working out placements, which a thread of this service does with values from there.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "coordinator/engine.h"
#include "coordinator/mailbox.h"
#include "coordinator/token_file.h"
#include "grpcpp/grpcpp.h"
#include "headlong/v1/admin.grpc.pb.h"

namespace headlong {

class AdminService final : public v1::Admin::CallbackService {
 public:
  // `tokens`, which may hold none yet, outlives the service: it names callers in the log.
  AdminService(Engine* engine, const std::shared_ptr<TokenFile>* tokens);
  ~AdminService() override;

  grpc::ServerUnaryReactor* GetCluster(grpc::CallbackServerContext* context,
                                       const v1::GetClusterRequest* request,
                                       v1::GetClusterResponse* response) override;
  grpc::ServerUnaryReactor* ListWorkers(grpc::CallbackServerContext* context,
                                        const v1::ListWorkersRequest* request,
                                        v1::ListWorkersResponse* response) override;
  grpc::ServerUnaryReactor* DrainWorker(grpc::CallbackServerContext* context,
                                        const v1::DrainWorkerRequest* request,
                                        v1::DrainWorkerResponse* response) override;
  grpc::ServerUnaryReactor* GetPlacement(grpc::CallbackServerContext* context,
                                         const v1::GetPlacementRequest* request,
                                         v1::GetPlacementResponse* response) override;
  grpc::ServerUnaryReactor* ApplyPlacement(grpc::CallbackServerContext* context,
                                           const v1::ApplyPlacementRequest* request,
                                           v1::ApplyPlacementResponse* response) override;
  grpc::ServerUnaryReactor* PlanPlacement(grpc::CallbackServerContext* context,
                                          const v1::PlanPlacementRequest* request,
                                          v1::PlanPlacementResponse* response) override;
  grpc::ServerUnaryReactor* ApplyPlan(grpc::CallbackServerContext* context,
                                      const v1::ApplyPlanRequest* request,
                                      v1::ApplyPlanResponse* response) override;
  grpc::ServerUnaryReactor* ListEpochs(grpc::CallbackServerContext* context,
                                       const v1::ListEpochsRequest* request,
                                       v1::ListEpochsResponse* response) override;
  grpc::ServerUnaryReactor* ListRequests(grpc::CallbackServerContext* context,
                                         const v1::ListRequestsRequest* request,
                                         v1::ListRequestsResponse* response) override;
  grpc::ServerUnaryReactor* TraceRequest(grpc::CallbackServerContext* context,
                                         const v1::TraceRequestRequest* request,
                                         v1::TraceRequestResponse* response) override;
  grpc::ServerUnaryReactor* CancelRequest(grpc::CallbackServerContext* context,
                                          const v1::CancelRequestRequest* request,
                                          v1::CancelRequestResponse* response) override;

 private:
  using LongWork = std::function<absl::Status()>;

  // Runs `change` on the engine thread, ends the call with its status, and writes one line of
  // audit: who did `what` to which epoch, and what came of it.
  grpc::ServerUnaryReactor* Audited(grpc::CallbackServerContext* context, const std::string& what,
                                    std::function<absl::Status()> change);

  // Ends the call with what `prepare`, on the engine thread, or its work, on ours, says.
  grpc::ServerUnaryReactor* OffEngine(grpc::CallbackServerContext* context,
                                      std::function<absl::StatusOr<LongWork>()> prepare);

  Engine& engine_;
  const std::shared_ptr<TokenFile>& tokens_;
  Mailbox long_works_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace headlong
