// headlong.v1.Inference over gRPC: translates between the wire and Request / ClientPort. Tokenizes
// on gRPC's threads; everything else is the engine's.
#pragma once

#include <functional>
#include <memory>

#include "coordinator/client_limits.h"
#include "coordinator/engine.h"
#include "coordinator/request_metrics.h"
#include "coordinator/token_file.h"
#include "grpcpp/grpcpp.h"
#include "headlong/v1/inference.grpc.pb.h"

namespace headlong {

struct InferenceContext {  // outlives the service
  Engine* engine = nullptr;
  const Tokenizer* tokenizer = nullptr;
  RequestMetrics* metrics = nullptr;  // null: nobody reads them
  ClientLimits* client_limits = nullptr;
  std::shared_ptr<TokenFile> tokens;  // null: callers show none
  RequestLimits limits;
  v1::GetModelResponse model;  // dtype and plan are filled in per call
};

// Requests that hold text are parsed here, so that bytes which are not UTF-8 are refused by field.
using InferenceCalls = v1::Inference::WithRawCallbackMethod_Generate<
    v1::Inference::WithRawCallbackMethod_Tokenize<v1::Inference::WithCallbackMethod_Detokenize<
        v1::Inference::WithCallbackMethod_GetModel<v1::Inference::Service>>>>;

class InferenceService final : public InferenceCalls {
 public:
  explicit InferenceService(const InferenceContext* context);

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Generate(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const v1::GetModelRequest* request,
                                     v1::GetModelResponse* response) override;

 private:
  absl::Status Charged(grpc::CallbackServerContext* context,
                       const std::function<absl::StatusOr<int64_t>()>& work);

  const InferenceContext& context_;
};

}  // namespace headlong
