// The inference service of a fake server: it answers what the test puts in. The tokenizer makes one
// token of every byte; token 256 is the BOS. Fields are set before the first call.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <mutex>
#include <string>
#include <vector>

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

}  // namespace headlong
