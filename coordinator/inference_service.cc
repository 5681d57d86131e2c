#include "coordinator/inference_service.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <utility>

#include "common/status.h"
#include "coordinator/call_tags.h"
#include "coordinator/late_reader.h"
#include "coordinator/raw_message.h"
#include "coordinator/request_log.h"
#include "coordinator/retry_hint.h"
#include "coordinator/stream_queue.h"

namespace headlong {
namespace {

uint64_t RandomWord() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return generator();
}

RequestInput FromWire(const v1::GenerateRequest& wire) {
  RequestInput input;
  input.request_id = wire.request_id();
  if (wire.has_prompt_tokens()) input.prompt_tokens = wire.prompt_tokens();
  if (wire.has_max_tokens()) input.max_tokens = wire.max_tokens();
  if (wire.has_temperature()) input.temperature = wire.temperature();
  if (wire.has_top_p()) input.top_p = wire.top_p();
  if (wire.has_top_k()) input.top_k = wire.top_k();
  if (wire.has_min_p()) input.min_p = wire.min_p();
  if (wire.has_seed()) input.seed = wire.seed();
  if (wire.has_logprobs()) input.logprobs = wire.logprobs();
  if (wire.has_model()) input.model = wire.model();
  input.stop.assign(wire.stop().begin(), wire.stop().end());
  input.ignore_eos = wire.ignore_eos();
  input.resume.assign(wire.resume_token_ids().begin(), wire.resume_token_ids().end());
  input.report_progress = wire.report_progress();
  if (wire.has_probe()) input.probe = wire.probe();
  return input;
}

absl::StatusOr<std::vector<TokenId>> PromptOf(const v1::GenerateRequest& wire,
                                              const Tokenizer& tokenizer) {
  switch (wire.prompt_case()) {
    case v1::GenerateRequest::kText:
      if (wire.text().empty()) return absl::InvalidArgumentError("prompt: must not be empty");
      return tokenizer.Encode(wire.text(), /*add_special_tokens=*/true);
    case v1::GenerateRequest::kTokenIds:
      return std::vector<TokenId>(wire.token_ids().ids().begin(), wire.token_ids().ids().end());
    default:
      return absl::InvalidArgumentError("prompt: text or token_ids must be given");
  }
}

v1::FinishReason ToWire(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case FinishReason::kCancelled:
      return v1::FINISH_REASON_CANCELLED;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

void FillFinished(const FinishedRequest& from, v1::Finished& to) {
  to.set_reason(ToWire(from.reason));
  to.set_text(from.text);
  v1::Usage& usage = *to.mutable_usage();
  usage.set_prompt_tokens(static_cast<uint32_t>(from.prompt_tokens));
  usage.set_completion_tokens(static_cast<uint32_t>(from.completion_tokens));
  usage.set_cache_bytes(from.cache_bytes);
  usage.set_full_cache_bytes(from.full_cache_bytes);
  v1::Timing& timing = *to.mutable_timing();
  timing.set_queue_ms(from.queue_ms);
  timing.set_prefill_ms(from.prefill_ms);
  timing.set_decode_ms(from.decode_ms);
  timing.set_total_ms(from.total_ms);
  if (from.probe) *to.mutable_probe() = *from.probe;
}

class GenerateReactor;

// What the engine holds of a client's stream. Outlives the reactor.
class ClientStream final : public ClientPort {
 public:
  explicit ClientStream(GenerateReactor* reactor) : queue(reactor) {}
  void set_request_id(const std::string& id) { request_id_ = id; }
  const std::string& request_id() const { return request_id_; }

  void Accepted(int64_t prompt_tokens, uint64_t seed) override {
    accepted = true;
    v1::GenerateResponse response = Response();
    response.mutable_accepted()->set_prompt_tokens(static_cast<uint32_t>(prompt_tokens));
    response.mutable_accepted()->set_seed(seed);
    Send(response);
  }
  void Progress(int64_t prefilled, int64_t prompt_tokens) override {
    v1::GenerateResponse response = Response();
    response.mutable_progress()->set_prefilled_tokens(static_cast<uint32_t>(prefilled));
    response.mutable_progress()->set_prompt_tokens(static_cast<uint32_t>(prompt_tokens));
    Send(response);
  }
  void Token(const DeliveredToken& token) override {
    v1::GenerateResponse response = Response();
    v1::TokenChunk& chunk = *response.mutable_chunk();
    chunk.set_index(static_cast<uint32_t>(token.index));
    chunk.add_token_ids(token.token);
    chunk.set_text(token.text);
    if (token.logprobs) {
      v1::TokenLogprobs& logprobs = *chunk.add_logprobs();
      logprobs.set_token_id(token.token);
      logprobs.set_logprob(token.logprobs->logprob);
      for (const auto& [id, logprob] : token.logprobs->top) {
        v1::TopLogprob& top = *logprobs.add_top();
        top.set_token_id(id);
        top.set_logprob(logprob);
      }
    }
    Send(response);
  }
  void Finished(const FinishedRequest& finished) override {
    accepted = false;
    v1::GenerateResponse response = Response();
    FillFinished(finished, *response.mutable_finished());
    Send(response);
    queue.End(absl::OkStatus());
  }
  void Failed(const absl::Status& status) override {
    accepted = false;
    queue.End(status);
  }

  StreamQueue<GenerateReactor, grpc::ByteBuffer> queue;
  std::atomic<bool> accepted{false};  // the engine has it: a cancel is for this request
  const std::shared_ptr<SendTimes> times = std::make_shared<SendTimes>();

 private:
  void Send(const v1::GenerateResponse& response) {
    times->Queued(std::chrono::steady_clock::now());
    queue.Send(ToRaw(response));
  }
  v1::GenerateResponse Response() const {
    v1::GenerateResponse response;
    response.set_request_id(request_id_);
    return response;
  }
  std::string request_id_;
};

// Tells a client when to come back, where the refusal is one that passes.
void AddRetryHint(grpc::CallbackServerContext* context, const absl::Status& status) {
  const auto after = RetryAfter(status);
  if (after) context->AddTrailingMetadata(kRetryPushbackKey, absl::StrCat(after->count()));
}

class GenerateReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  GenerateReactor(const InferenceContext& context, grpc::CallbackServerContext* call,
                  const grpc::ByteBuffer& request)
      : engine_(*context.engine), call_(call), stream_(std::make_shared<ClientStream>(this)) {
    Begin(context, request);
  }

  void OnWriteDone(bool ok) override {
    if (ok) stream_->times->Sent(std::chrono::steady_clock::now());
    stream_->queue.Written(ok);
  }
  void OnCancel() override {
    engine_.Post([engine = &engine_, stream = stream_] {
      if (stream->accepted) engine->Cancel(stream->request_id()).IgnoreError();
      stream->queue.Abandon(absl::CancelledError("the client went away"));
    });
  }
  void OnDone() override {
    stream_->times->Closed(std::chrono::steady_clock::now());
    stream_->queue.Detach();
    delete this;
  }
  void End(const absl::Status& status) {
    AddRetryHint(call_, status);
    Finish(ToGrpc(status));
  }

 private:
  void Begin(const InferenceContext& context, const grpc::ByteBuffer& request) {
    const TimePoint received = std::chrono::steady_clock::now();
    const CallTags tags = TagsOf(call_->client_metadata());
    LoggedRequest logged{tags.request_id, tags.trace_id, ""};
    std::shared_ptr<ClientPort> port = stream_;
    if (context.metrics != nullptr) port = context.metrics->Meter(port);
    const auto refuse = [&](const absl::Status& why) { LogTo(port, logged)->Failed(why); };
    absl::StatusOr<Caller> caller = CallerOf(call_->client_metadata(), context.tokens.get());
    if (!caller.ok()) return refuse(caller.status());
    logged.caller = caller->name;
    const absl::Status admitted =
        context.client_limits->Begin(*caller, std::chrono::steady_clock::now());
    if (!admitted.ok()) return refuse(admitted);
    port = context.client_limits->Count(*caller, port);
    absl::StatusOr<Request> made = Make(context, tags, request);
    if (!made.ok()) return refuse(made.status());
    made->caller = *std::move(caller);
    made->origin = {received, tags.trace_id, stream_->times};
    logged.request_id = made->id;
    stream_->set_request_id(made->id);
    engine_.Post([engine = &engine_, port = LogTo(port, logged), deadline = call_->deadline(),
                  made = *std::move(made)] { engine->Submit(made, port, deadline); });
  }

  static absl::StatusOr<Request> Make(const InferenceContext& context, const CallTags& tags,
                                      const grpc::ByteBuffer& bytes) {
    v1::GenerateRequest wire;
    RETURN_IF_ERROR(ParseRaw(bytes, wire));
    RequestInput input = FromWire(wire);
    if (input.request_id.empty()) input.request_id = tags.request_id;
    ASSIGN_OR_RETURN(input.prompt, PromptOf(wire, *context.tokenizer));
    const FreshValues fresh{absl::StrCat("r-", absl::Hex(RandomWord(), absl::kZeroPad16)),
                            RandomWord()};
    return MakeRequest(std::move(input), context.limits, fresh);
  }

  Engine& engine_;
  grpc::CallbackServerContext* const call_;
  const std::shared_ptr<ClientStream> stream_;
};

grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const absl::Status& status) {
  AddRetryHint(context, status);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

}  // namespace

InferenceService::InferenceService(const InferenceContext* context) : context_(*context) {
  // Prompts are long.
  const auto& file = *v1::GenerateRequest::descriptor()->file();
  const auto index = [&](const char* method) { return MethodIndex(file, "Inference", method); };
  MarkMethodStreamed(index("Generate"), LateStream(this, &InferenceService::Generate));
  MarkMethodStreamed(index("Tokenize"), LateUnary(this, &InferenceService::Tokenize));
  MarkMethodStreamed(index("Detokenize"), LateUnary(this, &InferenceService::Detokenize));
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* InferenceService::Generate(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  return new GenerateReactor(context_, context, *request);
}

grpc::ServerUnaryReactor* InferenceService::Tokenize(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* request,
                                                     grpc::ByteBuffer* response) {
  v1::TokenizeRequest wire;
  if (const absl::Status parsed = ParseRaw(*request, wire); !parsed.ok()) {
    return Answer(context, parsed);
  }
  v1::TokenizeResponse answer;
  const absl::Status done = Charged(context, [&]() -> absl::StatusOr<int64_t> {
    ASSIGN_OR_RETURN(const std::vector<TokenId> ids,
                     context_.tokenizer->Encode(wire.text(), wire.add_special_tokens()));
    answer.mutable_token_ids()->Add(ids.begin(), ids.end());
    return static_cast<int64_t>(ids.size());
  });
  *response = ToRaw(answer);
  return Answer(context, done);
}

// Work outside of requests counts as theirs: who may have so many tokens a second may not have more
// by asking for their names.
absl::Status InferenceService::Charged(grpc::CallbackServerContext* context,
                                       const std::function<absl::StatusOr<int64_t>()>& work) {
  ASSIGN_OR_RETURN(const Caller caller,
                   CallerOf(context->client_metadata(), context_.tokens.get()));
  const TimePoint now = std::chrono::steady_clock::now();
  RETURN_IF_ERROR(context_.client_limits->CheckRate(caller, now));
  ASSIGN_OR_RETURN(const int64_t tokens, work());
  context_.client_limits->Charge(caller, tokens, now);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* InferenceService::Detokenize(grpc::CallbackServerContext* context,
                                                       const v1::DetokenizeRequest* request,
                                                       v1::DetokenizeResponse* response) {
  const std::vector<TokenId> ids(request->token_ids().begin(), request->token_ids().end());
  return Answer(context, Charged(context, [&]() -> absl::StatusOr<int64_t> {
                  ASSIGN_OR_RETURN(*response->mutable_text(),
                                   context_.tokenizer->Decode(ids, request->keep_special_tokens()));
                  return static_cast<int64_t>(ids.size());
                }));
}

grpc::ServerUnaryReactor* InferenceService::GetModel(grpc::CallbackServerContext* context,
                                                     const v1::GetModelRequest*,
                                                     v1::GetModelResponse* response) {
  *response = context_.model;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  context_.engine->Post([engine = context_.engine, reactor, response] {
    response->set_dtype(engine->dtype());
    response->set_plan_json(engine->plan().ToJson());
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

}  // namespace headlong
