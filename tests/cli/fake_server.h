// A server for tests of commands: the fake services on a free loopback port.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>

#include "tests/cli/fake_admin.h"
#include "tests/cli/fake_services.h"

namespace headlong {

class FakeServer {
 public:
  FakeServer() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&inference);
    builder.RegisterService(&admin);
    server_ = builder.BuildAndStart();
    address = "127.0.0.1:" + std::to_string(port);
  }
  ~FakeServer() { Stop(); }
  void Stop() { server_->Shutdown(std::chrono::system_clock::now()); }

  FakeInference inference;
  FakeAdmin admin;
  std::string address;

 private:
  std::unique_ptr<grpc::Server> server_;
};

// The bytes of a request's prompt, whichever way it came.
inline std::string PromptText(const v1::GenerateRequest& request) {
  std::string text = request.text();
  for (const uint32_t id : request.token_ids().ids()) {
    if (id < kFakeBos) text.push_back(static_cast<char>(id));
  }
  return text;
}

// Answers `text`, a token per byte, the way a server does.
inline grpc::Status Answer(const v1::GenerateRequest& request, const std::string& text,
                           FakeInference::Writer* writer) {
  v1::GenerateResponse response;
  response.set_request_id(request.request_id().empty() ? "r-1" : request.request_id());
  const uint32_t prompt_tokens = static_cast<uint32_t>(PromptText(request).size());
  response.mutable_accepted()->set_prompt_tokens(prompt_tokens);
  response.mutable_accepted()->set_seed(7);
  writer->Write(response);
  for (uint32_t i = 0; i < text.size(); ++i) {
    v1::TokenChunk* chunk = response.mutable_chunk();
    chunk->Clear();
    chunk->set_index(i);
    chunk->add_token_ids(static_cast<unsigned char>(text[i]));
    chunk->set_text(text.substr(i, 1));
    if (request.has_logprobs()) {
      v1::TokenLogprobs* logprobs = chunk->add_logprobs();
      logprobs->set_token_id(static_cast<unsigned char>(text[i]));
      logprobs->set_logprob(-0.1f);
      for (int64_t k = 0; k < request.logprobs(); ++k) {
        v1::TopLogprob* top = logprobs->add_top();
        top->set_token_id(static_cast<uint32_t>(k));
        top->set_logprob(-1.5f * static_cast<float>(k + 1));
      }
    }
    writer->Write(response);
  }
  v1::Finished* finished = response.mutable_finished();
  finished->set_reason(v1::FINISH_REASON_STOP);
  finished->mutable_usage()->set_prompt_tokens(prompt_tokens);
  finished->mutable_usage()->set_completion_tokens(static_cast<uint32_t>(text.size()));
  finished->mutable_usage()->set_cache_bytes(1000);
  finished->mutable_usage()->set_full_cache_bytes(4000);
  finished->mutable_timing()->set_queue_ms(0.5);
  finished->mutable_timing()->set_prefill_ms(10);
  finished->mutable_timing()->set_decode_ms(20);
  finished->mutable_timing()->set_total_ms(30.5);
  writer->Write(response);
  return grpc::Status::OK;
}

}  // namespace headlong
