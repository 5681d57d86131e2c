// The gRPC end of the wire to the workers. Callbacks only post to the engine.
#pragma once

#include <atomic>

#include "coordinator/engine.h"
#include "grpcpp/grpcpp.h"
#include "headlong/v1/worker.grpc.pb.h"

namespace headlong {

class WorkerLinkService final : public v1::WorkerLink::CallbackService {
 public:
  explicit WorkerLinkService(Engine* engine) : engine_(*engine) {}

  grpc::ServerBidiReactor<v1::WorkerEvent, v1::WorkerCommand>* Connect(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* CheckRegister(grpc::CallbackServerContext* context,
                                          const v1::Register* request,
                                          v1::CheckRegisterResponse* response) override;
  grpc::ServerUnaryReactor* PutKey(grpc::CallbackServerContext* context,
                                   const v1::PutKeyRequest* request,
                                   v1::PutKeyResponse* response) override;
  grpc::ServerUnaryReactor* GetKey(grpc::CallbackServerContext* context,
                                   const v1::GetKeyRequest* request,
                                   v1::GetKeyResponse* response) override;

 private:
  Engine& engine_;
  std::atomic<LinkId> next_link_{1};
};

}  // namespace headlong
