// One Generate call and what came of it. One thread, but Cancel may come from any.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "headlong/v1/inference.grpc.pb.h"

namespace headlong {

using std::chrono::milliseconds;

class Call {
 public:
  Call(v1::Inference::Stub& stub, const v1::GenerateRequest& request,
       milliseconds deadline = milliseconds(60000)) {
    context_.set_deadline(std::chrono::system_clock::now() + deadline);
    reader_ = stub.Generate(&context_, request);
  }
  ~Call() { Cancel(); }

  // Reads until `count` tokens are here; false when the stream ended before.
  bool ReadTokens(size_t count) {
    while (tokens.size() < count) {
      v1::GenerateResponse response;
      if (!reader_->Read(&response)) return false;
      if (response.has_chunk()) {
        EXPECT_EQ(response.chunk().index(), tokens.size() + first_index);
        tokens.push_back(response.chunk().token_ids(0));
        text += response.chunk().text();
      }
      if (response.has_progress()) progress.push_back(response.progress().prefilled_tokens());
      if (response.has_finished()) finished = response.finished();
    }
    return true;
  }
  grpc::Status ReadAll() {
    ReadTokens(SIZE_MAX);
    return reader_->Finish();
  }
  void Cancel() { context_.TryCancel(); }

  std::vector<uint32_t> tokens;
  std::vector<uint32_t> progress;
  std::string text;
  v1::Finished finished;
  size_t first_index = 0;

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader_;
};

}  // namespace headlong
