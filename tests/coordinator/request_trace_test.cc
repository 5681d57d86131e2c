// What is kept of a request's life: as a value, and over real gRPC with workers that compute
// nothing.
#include "coordinator/request_trace.h"

#include <gmock/gmock.h>

#include "coordinator/request_traces.h"
#include "tests/coordinator/coordinator_fixture.h"

namespace headlong {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const TimePoint kBegin = TimePoint() + std::chrono::hours(1);
TimePoint At(double ms) {
  return kBegin + std::chrono::microseconds(static_cast<int64_t>(ms * 1000));
}

Request Asked(int64_t prompt_tokens) {
  Request request;
  request.id = "r-1";
  request.caller.name = "alice";
  request.origin.received = kBegin;
  request.origin.trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
  request.tokens.assign(prompt_tokens, 7);
  request.prompt_length = prompt_tokens;
  request.max_tokens = 64;
  return request;
}

TracedStep Step(uint64_t number, int64_t tokens, int64_t progress, double sent_ms) {
  TracedStep step;
  step.epoch = 3;
  step.number = number;
  step.tokens = tokens;
  step.progress = progress;
  step.reaches = progress + tokens;
  step.sent = At(sent_ms);
  return step;
}

std::vector<std::string> KindsOf(const v1::RequestTrace& trace) {
  std::vector<std::string> kinds;
  for (const v1::TraceSpan& span : trace.spans()) kinds.push_back(span.kind());
  return kinds;
}

TEST(RequestTrace, TellsChunksAndCountsDecodeSteps) {
  RequestTrace trace(Asked(1000), At(2), 1770000000123);
  trace.Wait(TextOf(WaitCause::kSequences), At(2));
  trace.Wait(TextOf(WaitCause::kSequences), At(6));
  trace.Computed(Step(5, 512, 0, 10), At(30));
  TracedStep last = Step(6, 488, 512, 30);
  last.sample = true;
  trace.Computed(last, At(45));
  for (int i = 0; i < 300; ++i) {
    TracedStep step = Step(7 + i, 1, 1000 + i, 50 + 10 * i);
    step.sample = true;
    trace.Computed(step, At(50 + 10 * i + (i == 200 ? 9 : i % 50 == 0 ? 4 : 2)));
  }
  const v1::RequestTrace told = trace.Describe(At(5000));
  EXPECT_THAT(KindsOf(told), ElementsAre("received", "waiting", "prefill", "prefill", "decode"));
  EXPECT_EQ(told.received_unix_ms(), 1770000000121) << "when it came, not when it was queued";
  EXPECT_EQ(told.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(told.caller(), "alice");
  EXPECT_EQ(told.spans(1).reason(), "as many sequences run as may");
  EXPECT_EQ(told.spans(1).begin_ms(), 2);
  EXPECT_EQ(told.spans(1).end_ms(), 10);
  EXPECT_EQ(told.spans(2).tokens(), 512u);
  EXPECT_EQ(told.spans(2).computed_ms(), 20);
  EXPECT_EQ(told.first_token_ms(), 45);
  EXPECT_EQ(told.sampled_tokens(), 301u);
  EXPECT_EQ(told.decode().steps(), 300u);
  EXPECT_EQ(told.decode().max_ms(), 9);
  EXPECT_EQ(told.decode().slowest_step(), 207u);
  EXPECT_EQ(told.decode().slowest_epoch(), 3u);
  EXPECT_NEAR(told.decode().p99_ms(), 4, 0.4);
  EXPECT_NEAR(told.decode().mean_ms(), 2.056, 0.01);
  EXPECT_EQ(told.spans(4).steps(), 300u);
}

TEST(RequestTrace, ALostStepAPauseAndTheReplay) {
  RequestTrace trace(Asked(10), At(0), 0);
  TracedStep prompt = Step(1, 10, 0, 1);
  prompt.sample = true;
  trace.Computed(prompt, At(2));
  TracedStep decode = Step(2, 1, 10, 2);
  decode.sample = true;
  trace.Computed(decode, At(3));
  trace.Lost(Step(3, 1, 11, 3), At(60));
  trace.Pause(3, "worker b is gone", At(60));
  EXPECT_EQ(trace.Describe(At(70)).state(), "paused");
  EXPECT_EQ(trace.Describe(At(70)).spans().rbegin()->end_ms(), 70) << "it lasts";
  trace.Resume(/*from_its_lanes=*/false, At(100));
  TracedStep replay = Step(1, 12, 0, 101);
  replay.epoch = 4;
  replay.sample = true;
  trace.Computed(replay, At(103));
  trace.End("stop", At(104));
  const v1::RequestTrace told = trace.Describe(At(9999));
  EXPECT_THAT(KindsOf(told),
              ElementsAre("received", "prefill", "decode", "lost", "paused", "waiting", "replay"));
  EXPECT_THAT(told.spans(4).reason(), HasSubstr("worker b is gone; it is computed again"));
  EXPECT_EQ(told.spans(6).epoch(), 4u);
  EXPECT_EQ(told.decode().steps(), 1u) << "what is computed again is no decode step";
  EXPECT_EQ(told.end(), "stop");
  EXPECT_EQ(told.age_ms(), 104);
}

TEST(RequestTrace, WhoHasNotBegunWaitsThroughAnEpochsEnd) {
  RequestTrace trace(Asked(10), At(0), 0);
  trace.Pause(3, "worker b is gone", At(5));
  trace.Resume(false, At(9));
  EXPECT_THAT(KindsOf(trace.Describe(At(10))), ElementsAre("received", "waiting"));
  EXPECT_EQ(trace.Describe(At(10)).spans(1).reason(), "no epoch serves: worker b is gone");
}

TEST(RequestTrace, APromptOfManyChunksIsBoundedAndLosesNoToken) {
  RequestTrace trace(Asked(64 * 5000), At(0), 0);
  for (int i = 0; i < 5000; ++i) trace.Computed(Step(1 + i, 64, 64 * i, i), At(i + 0.5));
  const v1::RequestTrace told = trace.Describe(At(6000));
  EXPECT_LE(told.spans_size(), static_cast<int>(RequestTrace::kMostSpans));
  EXPECT_GE(told.spans_size(), 32) << "its course is still to be seen";
  EXPECT_EQ(told.spans_forgotten(), 0u);
  uint64_t tokens = 0, steps = 0;
  for (const v1::TraceSpan& span : told.spans()) {
    tokens += span.tokens();
    steps += span.steps();
  }
  EXPECT_EQ(tokens, 64u * 5000);
  EXPECT_EQ(steps, 5000u);
}

TEST(RequestTrace, AnUnquietLifeForgetsItsMiddle) {
  RequestTrace trace(Asked(10), At(0), 0);
  for (int i = 0; i < 1000; ++i) {
    trace.Wait(TextOf(i % 2 == 0 ? WaitCause::kRows : WaitCause::kPages), At(i));
  }
  const v1::RequestTrace told = trace.Describe(At(1000));
  EXPECT_LE(told.spans_size(), static_cast<int>(RequestTrace::kMostSpans));
  EXPECT_EQ(told.spans_size() + told.spans_forgotten(), 1001u);
  EXPECT_EQ(told.spans(0).kind(), "received");
}

TEST(SendTimes, CountsWhatASlowReaderLeaves) {
  SendTimes times;
  times.Queued(At(0));
  times.Queued(At(1));
  times.Sent(At(4));
  times.Queued(At(5));
  SendCounts counts = times.counts(At(105));
  EXPECT_EQ(counts.messages, 1u);
  EXPECT_EQ(counts.waiting, 2u);
  EXPECT_EQ(counts.most_waiting, 2u);
  EXPECT_EQ(counts.longest_wait_ms, 104) << "it waits still";
  times.Closed(At(106));
  times.Queued(At(107));
  counts = times.counts(At(200));
  EXPECT_EQ(counts.waiting, 0u);
  EXPECT_EQ(counts.longest_wait_ms, 4);
  EXPECT_EQ(*counts.closed, At(106));
}

TEST(RequestTraces, KeepsTheLastThatEnded) {
  RequestTraces traces;
  for (size_t i = 0; i < RequestTraces::kMostEnded + 2; ++i) {
    Request request = Asked(4);
    request.id = absl::StrCat("r-", i);
    traces.Begin(i, request, "", At(1));
    traces.End(i, "stop", At(2));
  }
  EXPECT_EQ(traces.Find("r-1", At(3)).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(traces.Find("r-2", At(3))->end(), "stop");
  traces.Begin(999, Asked(4), "waiting for workers", At(3));  // r-1 once more: a new request
  EXPECT_EQ(traces.Find("r-1", At(4))->state(), "waiting");
}

class TracedRequests : public WithCoordinator {
 protected:
  v1::RequestTrace Trace(const std::string& id) {
    grpc::ClientContext context;
    v1::TraceRequestRequest request;
    request.set_request_id(id);
    v1::TraceRequestResponse response;
    status_ = admin_->TraceRequest(&context, request, &response);
    return response.trace();
  }

  std::unique_ptr<FakeWorker> Begin() {
    Start(1);
    FakeWorkerOptions options;
    options.step_time = milliseconds(2);
    auto worker = Worker(options);
    EXPECT_TRUE(Eventually([&] { return Cluster().state() == "serving"; }));
    return worker;
  }

  static v1::GenerateRequest Named(const std::string& id, int prompt_tokens, int max_tokens) {
    v1::GenerateRequest request = Request(std::vector<uint32_t>(prompt_tokens, 17), max_tokens);
    request.set_request_id(id);
    return request;
  }

  grpc::Status status_;
};

TEST_F(TracedRequests, FromItsArrivalToTheClosedStream) {
  const auto worker = Begin();
  Call call(*inference_, Named("mine", 150, 20));  // three chunks of at most 64
  ASSERT_TRUE(call.ReadAll().ok());
  ASSERT_TRUE(Eventually([&] { return Trace("mine").delivery().closed_ms() > 0; }));
  const v1::RequestTrace trace = Trace("mine");
  EXPECT_EQ(trace.state(), "ended");
  EXPECT_EQ(trace.end(), "length");
  std::vector<uint64_t> chunks;
  for (const v1::TraceSpan& span : trace.spans()) {
    if (span.kind() == "prefill") chunks.push_back(span.tokens());
    EXPECT_LE(span.begin_ms(), span.end_ms());
    EXPECT_LE(span.end_ms(), trace.age_ms());
    EXPECT_EQ(span.epoch(), span.steps() > 0 ? 1u : 0u);
  }
  EXPECT_THAT(chunks, ElementsAre(64, 64, 22));
  EXPECT_EQ(trace.decode().steps(), 19u) << "the first of 20 tokens came with the prompt";
  EXPECT_GE(trace.decode().mean_ms(), 2);
  EXPECT_GE(trace.delivery().messages(), 21u);
  EXPECT_EQ(trace.delivery().waiting(), 0u);
  Trace("other");
  EXPECT_EQ(status_.error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(TracedRequests, SaysWhatItWaitsFor) {
  const auto worker = Begin();
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < 4; ++i) {  // as many as run at once
    calls.push_back(std::make_unique<Call>(*inference_, Named(absl::StrCat("busy-", i), 4, 2000)));
    ASSERT_TRUE(calls.back()->ReadTokens(2));
  }
  Call first(*inference_, Named("first", 4, 5));
  ASSERT_TRUE(Eventually([&] { return Trace("first").spans_size() > 1; }));
  Call second(*inference_, Named("second", 4, 5));
  const auto waits_for = [&](const std::string& id) {
    const v1::RequestTrace trace = Trace(id);
    return trace.spans().empty() ? "" : trace.spans().rbegin()->reason();
  };
  EXPECT_TRUE(Eventually([&] { return waits_for("first") == TextOf(WaitCause::kSequences); }));
  EXPECT_TRUE(Eventually([&] { return waits_for("second") == TextOf(WaitCause::kOlder); }));
  calls.clear();
  EXPECT_TRUE(first.ReadAll().ok());
  EXPECT_TRUE(second.ReadAll().ok());
  EXPECT_EQ(Trace("busy-0").end(), "cancelled");
}

TEST_F(TracedRequests, ALostWorkerIsAPauseAndAReplay) {
  auto worker = Begin();
  Call call(*inference_, Named("mine", 10, 60));
  ASSERT_TRUE(call.ReadTokens(5));
  worker->Drop();
  ASSERT_TRUE(Eventually([&] { return Cluster().state() != "serving"; }));
  EXPECT_EQ(Trace("mine").state(), "paused");
  FakeWorkerOptions options;
  options.pid = 2;
  const auto replacement = Worker(options);
  ASSERT_TRUE(call.ReadAll().ok());
  const v1::RequestTrace trace = Trace("mine");
  const std::vector<std::string> kinds = KindsOf(trace);
  const auto paused = std::find(kinds.begin(), kinds.end(), "paused");
  ASSERT_NE(paused, kinds.end());
  EXPECT_NE(std::find(paused, kinds.end(), "replay"), kinds.end());
  EXPECT_EQ(trace.spans().rbegin()->kind(), "decode");
  EXPECT_EQ(trace.spans().rbegin()->epoch(), 2u);
  EXPECT_EQ(trace.sampled_tokens(), 60u);
}

}  // namespace
}  // namespace headlong
