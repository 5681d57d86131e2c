// headlong.v1.Inference over gRPC: translates between the wire and Request / ClientPort. Tokenizes
// on gRPC's threads; everything else is the engine's.
#pragma once

#include "coordinator/engine.h"
#include "grpcpp/grpcpp.h"
#include "headlong/v1/inference.grpc.pb.h"

namespace headlong {

struct InferenceContext {  // outlives the service
  Engine* engine = nullptr;
  const Tokenizer* tokenizer = nullptr;
  RequestLimits limits;
  v1::GetModelResponse model;  // dtype is filled in per call
};

class InferenceService final : public v1::Inference::CallbackService {
 public:
  explicit InferenceService(const InferenceContext* context) : context_(*context) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const v1::GetModelRequest* request,
                                     v1::GetModelResponse* response) override;

 private:
  const InferenceContext& context_;
};

}  // namespace headlong
