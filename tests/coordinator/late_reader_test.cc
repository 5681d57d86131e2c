// Large messages of the first call on a connection, which nobody takes for a stranger's.
#include "coordinator/late_reader.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/coordinator/coordinator_fixture.h"

namespace headlong {
namespace {

class FirstMessages : public WithCoordinator {
 protected:
  std::shared_ptr<grpc::Channel> Fresh() {
    grpc::ChannelArguments own;  // else connections are shared
    own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    own.SetMaxReceiveMessageSize(-1);
    return grpc::CreateCustomChannel(coordinator_->client_address(),
                                     grpc::InsecureChannelCredentials(), own);
  }
};

TEST_F(FirstMessages, OfPrompts) {
  Start(1);
  const auto worker = Worker({});
  for (int i = 0; i < 10; ++i) {
    const auto inference = v1::Inference::NewStub(Fresh());
    Call call(*inference, Request(std::vector<uint32_t>(4 << 20, 300), 1));
    EXPECT_EQ(call.ReadAll().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
}

TEST_F(FirstMessages, OfIds) {
  Start(1);
  v1::DetokenizeRequest request;
  request.mutable_token_ids()->Resize(2 << 20, 300);
  grpc::ClientContext context;
  v1::DetokenizeResponse response;
  const grpc::Status status =
      v1::Inference::NewStub(Fresh())->Detokenize(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(FirstMessages, OfPlans) {
  Start(1);
  v1::ApplyPlanRequest request;
  request.set_plan_json(std::string(8 << 20, ' '));
  grpc::ClientContext context;
  v1::ApplyPlanResponse response;
  const grpc::Status status = v1::Admin::NewStub(Fresh())->ApplyPlan(&context, request, &response);
  EXPECT_NE(status.error_code(), grpc::StatusCode::OK);
  EXPECT_NE(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
}

TEST(LateReader, KnowsMethodsByTheirNumbers) {
  const auto& file = *v1::GenerateRequest::descriptor()->file();
  EXPECT_EQ(MethodIndex(file, "Inference", "Generate"), 0);
  EXPECT_EQ(MethodIndex(file, "Inference", "Tokenize"), 1);
}

}  // namespace
}  // namespace headlong
