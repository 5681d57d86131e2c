// Streams, cancels, deaths and shutdowns over real gRPC, with workers that compute nothing.
#include "coordinator/coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "grpcpp/generic/generic_stub.h"
#include "tests/coordinator/coordinator_fixture.h"

namespace headlong {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<uint32_t> kPrompt{0, 17, 23, 42};

std::vector<uint32_t> Expected(int count, const std::vector<uint32_t>& prompt = kPrompt) {
  return FakeTokens(prompt, count, FakeWorker::kVocab);
}

FakeWorkerOptions Named(const std::string& id, int64_t pid) {
  FakeWorkerOptions options;
  options.id = id;
  options.pid = pid;
  return options;
}

FakeWorkerOptions Slow(const std::string& id = "w0", milliseconds step_time = milliseconds(5)) {
  FakeWorkerOptions options;
  options.id = id;
  options.step_time = step_time;
  return options;
}

class Streams : public WithCoordinator {};

TEST_F(Streams, TokensInOrderWithUsage) {
  Start(1);
  const auto worker = Worker(Slow("w0", milliseconds(10)));
  Call call(*inference_, Request(kPrompt, 20));
  ASSERT_TRUE(call.ReadAll().ok());
  EXPECT_EQ(call.tokens, Expected(20));
  EXPECT_EQ(call.finished.reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(call.finished.usage().prompt_tokens(), 4u);
  EXPECT_EQ(call.finished.usage().completion_tokens(), 20u);
  EXPECT_GE(worker->sent_ahead(), 10) << "steps wait for the answer to the one before";
  EXPECT_TRUE(worker->WaitIdle(milliseconds(5000))) << "the workers hold it still";
  EXPECT_EQ(worker->complaint(), "");
}

TEST_F(Streams, ManyAtOnceDoNotMix) {
  Start(2);
  const auto first = Worker({});
  const auto second = Worker(Named("w1", 2));
  std::vector<std::unique_ptr<Call>> calls;
  for (uint32_t i = 0; i < 12; ++i) {
    calls.push_back(std::make_unique<Call>(*inference_, Request({0, i, i + 1}, 10 + i)));
  }
  for (uint32_t i = 0; i < 12; ++i) {
    ASSERT_TRUE(calls[i]->ReadAll().ok());
    EXPECT_EQ(calls[i]->tokens, Expected(10 + i, {0, i, i + 1}));
  }
  EXPECT_EQ(first->complaint(), "");
  EXPECT_EQ(second->complaint(), "");
}

// A stream is cancelled while two steps with it are on their way; the others go on ahead of time.
TEST_F(Streams, CancelledAmongOthersThatGoOn) {
  Start(1);
  const auto worker = Worker(Slow("w0", milliseconds(2)));
  Call lasting(*inference_, Request(kPrompt, 400));
  ASSERT_TRUE(lasting.ReadTokens(1));
  for (uint32_t i = 0; i < 20; ++i) {
    Call cancelled(*inference_, Request({0, i, i + 1}, 400));
    ASSERT_TRUE(cancelled.ReadTokens(4)) << "the coordinator is gone";
    std::this_thread::sleep_for(std::chrono::microseconds(200 * i));
    cancelled.Cancel();
  }
  ASSERT_TRUE(lasting.ReadAll().ok());
  EXPECT_EQ(lasting.tokens, Expected(400));
  EXPECT_GE(worker->sent_ahead(), 100);
  EXPECT_EQ(worker->complaint(), "");
}

TEST_F(Streams, ProgressCountsWhatIsComputed) {
  Start(1);
  const auto worker = Worker({});
  v1::GenerateRequest request = Request(std::vector<uint32_t>(200, 7), 1);  // 64 rows a step
  request.set_report_progress(true);
  Call call(*inference_, request);
  ASSERT_TRUE(call.ReadAll().ok());
  EXPECT_THAT(call.progress, ElementsAre(64, 128, 192));
}

TEST_F(Streams, ResumedStreamGoesOn) {
  Start(1);
  const auto worker = Worker({});
  v1::GenerateRequest request = Request(kPrompt, 10);
  const std::vector<uint32_t> all = Expected(10);
  request.mutable_resume_token_ids()->Add(all.begin(), all.begin() + 6);
  Call call(*inference_, request);
  call.first_index = 6;
  ASSERT_TRUE(call.ReadAll().ok());
  EXPECT_EQ(call.tokens, std::vector<uint32_t>(all.begin() + 6, all.end()));
}

TEST_F(Streams, CancelledCallFreesTheRequest) {
  Start(1);
  const auto worker = Worker(Slow());
  Call call(*inference_, Request(kPrompt, 2000));
  ASSERT_TRUE(call.ReadTokens(2));
  EXPECT_EQ(Requests().requests_size(), 1);
  call.Cancel();
  EXPECT_TRUE(Eventually([&] { return Requests().requests_size() == 0; }));
  EXPECT_TRUE(worker->WaitIdle(milliseconds(5000)));
  EXPECT_EQ(call.ReadAll().error_code(), grpc::StatusCode::CANCELLED);
}

// While the others' next step is on its way already, and holds the one that has ended.
TEST_F(Streams, OthersGoOnWhenOneEndsEarly) {
  Start(1);
  const auto worker = Worker(Slow());
  const std::vector<uint32_t> ends_early{0, 5, 6};
  Call alone(*inference_, Request(ends_early, 12));
  ASSERT_TRUE(alone.ReadAll().ok());
  Call stays(*inference_, Request(kPrompt, 60));
  ASSERT_TRUE(stays.ReadTokens(5));
  v1::GenerateRequest stops_early = Request(ends_early, 50);
  stops_early.add_stop(alone.text.substr(alone.text.size() / 2));
  Call stops(*inference_, stops_early);
  EXPECT_TRUE(stops.ReadAll().ok());
  EXPECT_EQ(stops.finished.reason(), v1::FINISH_REASON_STOP);
  v1::GenerateRequest cancelled_early = Request(ends_early, 50);
  cancelled_early.set_request_id("cancelled");
  Call cancelled(*inference_, cancelled_early);
  ASSERT_TRUE(cancelled.ReadTokens(3));
  EXPECT_TRUE(CancelById("cancelled").ok());
  EXPECT_TRUE(stays.ReadAll().ok());
  EXPECT_EQ(stays.tokens, Expected(60));
  EXPECT_EQ(worker->complaint(), "");
}

TEST_F(Streams, DeadlineEndsTheRequest) {
  Start(1);
  const auto worker = Worker(Slow());
  Call call(*inference_, Request(kPrompt, 2000), milliseconds(300));
  EXPECT_EQ(call.ReadAll().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(worker->WaitIdle(milliseconds(5000)));
  EXPECT_EQ(Requests().requests_size(), 0);
}

TEST_F(Streams, DeadlineWithoutWorkersSaysWhy) {
  Start(1);
  Call call(*inference_, Request(kPrompt, 5), milliseconds(600));
  EXPECT_EQ(call.ReadAll().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(Streams, ListedAndCancelledByName) {
  Start(1);
  const auto worker = Worker(Slow());
  v1::GenerateRequest request = Request(kPrompt, 2000);
  request.set_request_id("mine");
  Call call(*inference_, request);
  ASSERT_TRUE(call.ReadTokens(3));
  const v1::ListRequestsResponse listed = Requests();
  ASSERT_EQ(listed.requests_size(), 1);
  EXPECT_EQ(listed.requests(0).request_id(), "mine");
  EXPECT_EQ(listed.requests(0).prompt_tokens(), 4u);
  EXPECT_GE(listed.requests(0).completion_tokens(), 3u);
  Call twin(*inference_, request);
  EXPECT_EQ(twin.ReadAll().error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_TRUE(CancelById("mine").ok());
  EXPECT_TRUE(call.ReadAll().ok());
  EXPECT_EQ(call.finished.reason(), v1::FINISH_REASON_CANCELLED);
  EXPECT_EQ(CancelById("mine").error_code(), grpc::StatusCode::NOT_FOUND);
}

// ---- deaths ----

class Deaths : public WithCoordinator {};

TEST_F(Deaths, StreamGoesOnWithTheSameTokensOnANewWorker) {
  Start(1);
  FakeWorkerOptions mortal;
  mortal.die_at_step = 8;
  const auto first = Worker(mortal);
  Call call(*inference_, Request(kPrompt, 40));
  ASSERT_TRUE(call.ReadTokens(5));
  first->WaitClosed();
  const auto second = Worker(Named("w0", 2));
  ASSERT_TRUE(call.ReadAll().ok());
  EXPECT_EQ(call.tokens, Expected(40));
  EXPECT_EQ(second->epoch(), 2u);
  EXPECT_EQ(second->complaint(), "");
}

TEST_F(Deaths, SurvivorGoesOnWithoutASilentWorker) {
  Start(2);
  const auto survivor = Worker(Slow());
  const auto silent = Worker(Named("w1", 2));
  Call call(*inference_, Request(kPrompt, 60));
  ASSERT_TRUE(call.ReadTokens(5));
  silent->Freeze();
  ASSERT_TRUE(call.ReadAll().ok());
  EXPECT_EQ(call.tokens, Expected(60));
  EXPECT_EQ(Cluster().recoveries(), 1u);
  EXPECT_EQ(silent->WaitClosed().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(survivor->complaint(), "");
}

TEST_F(Deaths, RequestAtTwoCrashesIsSetAside) {
  Start(1);
  Call call(*inference_, Request(kPrompt, 40));
  for (int64_t pid = 1; pid <= 2; ++pid) {
    FakeWorkerOptions mortal;
    mortal.pid = pid;
    mortal.die_at_step = 1;
    Worker(mortal)->WaitClosed();
  }
  EXPECT_EQ(call.ReadAll().error_code(), grpc::StatusCode::ABORTED);
}

TEST_F(Deaths, SecondLiveWorkerOfAnIdIsRefused) {
  Start(1);
  const auto first = Worker({});
  ASSERT_TRUE(Eventually([&] { return Cluster().state() == "serving"; }));
  EXPECT_EQ(Worker(Named("w0", 2))->WaitClosed().error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Cluster().state(), "serving");
}

TEST_F(Deaths, WorkerTooSmallUsesUpNoEpoch) {
  Start(1);
  FakeWorkerOptions few = Named("w0", 1);
  few.memory_bytes = 1 << 20;
  const auto small = Worker(few);
  ASSERT_TRUE(Eventually(
      [&] { return Cluster().reason().find("cannot hold") != Cluster().reason().npos; }));
  EXPECT_EQ(Cluster().epoch(), 0u);
  small->Drop();
  const auto large = Worker(Named("w0", 2));
  EXPECT_TRUE(Eventually([&] { return Cluster().state() == "serving"; }));
  EXPECT_EQ(Cluster().epoch(), 1u);
}

// ---- shutdown ----

class Shutdowns : public WithCoordinator {};

TEST_F(Shutdowns, RunningRequestsFailAndWorkersReadTheCommand) {
  ends_workers_ = true;
  Start(2);
  const auto first = Worker(Slow());
  const auto second = Worker(Named("w1", 2));
  Call call(*inference_, Request(kPrompt, 2000));
  ASSERT_TRUE(call.ReadTokens(2));
  coordinator_->Shutdown(milliseconds(0));
  const grpc::Status status = call.ReadAll();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("shutting down"));
  first->WaitClosed();
  second->WaitClosed();
  EXPECT_TRUE(first->saw_shutdown());
  EXPECT_TRUE(second->saw_shutdown());
}

TEST_F(Shutdowns, WorkersThatAreNotItsOwnAreLetGo) {
  Start(2);
  const auto first = Worker(Slow());
  const auto second = Worker(Named("w1", 2));
  Call call(*inference_, Request(kPrompt, 2000));
  ASSERT_TRUE(call.ReadTokens(2));
  coordinator_->Shutdown(milliseconds(0));
  EXPECT_EQ(call.ReadAll().error_code(), grpc::StatusCode::UNAVAILABLE);
  for (const auto* worker : {&first, &second}) {
    EXPECT_FALSE((*worker)->WaitClosed().ok());
    EXPECT_FALSE((*worker)->saw_shutdown());
  }
}

TEST_F(Shutdowns, DrainLetsRequestsEnd) {
  Start(1);
  const auto worker = Worker(Slow());
  Call call(*inference_, Request(kPrompt, 30));
  ASSERT_TRUE(call.ReadTokens(2));
  coordinator_->Shutdown(milliseconds(30000));
  EXPECT_TRUE(call.ReadAll().ok());
  EXPECT_EQ(call.tokens, Expected(30));
}

// The stream is not ended under a worker that has still to read its Shutdown, but not for long.
TEST_F(Shutdowns, WorkerThatLingersIsCutOff) {
  ends_workers_ = true;
  Start(1);
  FakeWorkerOptions options;
  options.lingers_at_shutdown = true;
  const auto worker = Worker(options);
  ASSERT_TRUE(Eventually([&] { return Cluster().state() == "serving"; }));
  const auto begin = std::chrono::steady_clock::now();
  coordinator_->Shutdown(milliseconds(0));
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(took, milliseconds(500)) << "the stream was ended before the worker closed it";
  EXPECT_LT(took, milliseconds(10000));
  EXPECT_FALSE(worker->WaitClosed().ok());
  EXPECT_TRUE(worker->saw_shutdown());
}

// ---- bytes that are no request ----

class RawCalls : public WithCoordinator {
 protected:
  grpc::Status Send(const std::string& method, const std::string& bytes) {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    grpc::Status status;
    auto call =
        stub.PrepareUnaryCall(&context, "/headlong.v1.Inference/" + method, request, &queue);
    call->StartCall();
    call->Finish(&response, &status, this);
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue.Next(&tag, &ok));
    return status;
  }
};

TEST_F(RawCalls, TextThatIsNotUtf8IsRefusedByField) {
  Start(1);
  for (const char* method : {"Generate", "Tokenize"}) {
    const bool generate = std::string(method) == "Generate";
    const grpc::Status status =
        Send(method, generate ? "\x12\x04ok\xff\xfe" : "\x0a\x04ok\xff\xfe");
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
    EXPECT_THAT(status.error_message(), HasSubstr("text: must be UTF-8, the byte at 2"));
  }
  EXPECT_THAT(Send("Generate", "\x5a\x01\xff").error_message(), HasSubstr("stop: must be UTF-8"));
}

TEST_F(RawCalls, BytesThatAreNoMessageAreRefused) {
  Start(1);
  const grpc::Status status = Send("Generate", "\x12\x7fshort");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("headlong.v1.GenerateRequest"));
}

TEST_F(RawCalls, TokenizeAnswers) {
  Start(1);
  grpc::ClientContext context;
  v1::TokenizeRequest request;
  request.set_text("one two");
  v1::TokenizeResponse response;
  ASSERT_TRUE(inference_->Tokenize(&context, request, &response).ok());
  EXPECT_GT(response.token_ids_size(), 0);
}

}  // namespace
}  // namespace headlong
