#include "cli/client.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/interrupt.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr std::chrono::milliseconds kReconnectTime{1000};  // that a call gives a lost connection

bool IsLoopback(const std::string& address) {
  return absl::StartsWith(address, "127.") || absl::StartsWith(address, "localhost:") ||
         absl::StartsWith(address, "[::1]:") || absl::StartsWith(address, "unix:");
}

absl::Status NoServer(const ClientOptions& options, const std::string& why) {
  const char* tls =
      options.tls ? " that speaks TLS with a certificate for this name that the authority signed"
                  : " without TLS (for one with TLS give --tls or --tls-ca)";
  return absl::UnavailableError(absl::StrCat(
      "no server at ", options.address, tls, why, ": start one with `headlong serve --model DIR`",
      ", name another with --server ADDR, or give --model DIR to run without one"));
}

std::shared_ptr<grpc::ChannelCredentials> CredentialsOf(const ClientOptions& options) {
  if (!options.tls) return grpc::InsecureChannelCredentials();
  auto credentials = MakeChannelCredentials(options.tls_files);
  if (options.token.empty()) return credentials;
  return grpc::CompositeChannelCredentials(credentials,
                                           grpc::AccessTokenCredentials(options.token));
}

// Loopback is never sent through a proxy.
std::shared_ptr<grpc::Channel> OpenChannel(const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);  // the ids of a whole book are one answer
  if (IsLoopback(options.address)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // A server that is started again is found within a second, not after gRPC's two minutes.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // A command that meets an old broken connection of its own process must not wait for its backoff.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(options.address, CredentialsOf(options), arguments);
}

}  // namespace

CallCanceller::CallCanceller() : thread_([this] { Watch(); }) {}

CallCanceller::~CallCanceller() {
  stop_ = true;
  thread_.join();
}

void CallCanceller::Add(grpc::ClientContext* context) {
  const std::lock_guard lock(mutex_);
  contexts_.insert(context);
  if (Interrupted()) context->TryCancel();
}

void CallCanceller::Remove(grpc::ClientContext* context) {
  const std::lock_guard lock(mutex_);
  contexts_.erase(context);
}

void CallCanceller::Watch() {
  while (!stop_) {
    if (Interrupted()) {
      const std::lock_guard lock(mutex_);
      for (grpc::ClientContext* context : contexts_) context->TryCancel();
    }
    std::this_thread::sleep_for(kInterruptPoll);
  }
}

Client::Client(const ClientOptions& options, std::shared_ptr<grpc::Channel> channel)
    : options_(options),
      channel_(std::move(channel)),
      inference_(v1::Inference::NewStub(channel_)),
      admin_(v1::Admin::NewStub(channel_)),
      canceller_(options.cancel_on_interrupt ? std::make_unique<CallCanceller>() : nullptr) {}

void Client::Watch(grpc::ClientContext* context) {
  if (canceller_) canceller_->Add(context);
}

void Client::Unwatch(grpc::ClientContext* context) {
  if (canceller_) canceller_->Remove(context);
}

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options) {
  std::shared_ptr<grpc::Channel> channel = OpenChannel(options);
  const auto deadline = std::chrono::system_clock::now() + options.connect_timeout;
  while (true) {
    const grpc_connectivity_state state = channel->GetState(/*try_to_connect=*/true);
    if (state == GRPC_CHANNEL_READY) break;
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE || state == GRPC_CHANNEL_SHUTDOWN) {
      return NoServer(options, "");
    }
    if (options.cancel_on_interrupt && Interrupted()) {
      return absl::CancelledError("interrupted");
    }
    const auto now = std::chrono::system_clock::now();
    if (now >= deadline) return NoServer(options, " (it did not answer in time)");
    channel->WaitForStateChange(state, std::min(deadline, now + kInterruptPoll));
  }
  return std::unique_ptr<Client>(new Client(options, std::move(channel)));
}

void Client::AwaitConnection(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::system_clock::now() + limit;
  while (!options_.cancel_on_interrupt || !Interrupted()) {
    const grpc_connectivity_state state = channel_->GetState(/*try_to_connect=*/true);
    const auto now = std::chrono::system_clock::now();
    if (state == GRPC_CHANNEL_READY || now >= deadline) return;
    channel_->WaitForStateChange(state, std::min(deadline, now + kInterruptPoll));
  }
}

absl::Status Client::Explain(const grpc::Status& status) const {
  if (status.error_code() == grpc::StatusCode::CANCELLED && Interrupted()) {
    return absl::CancelledError("interrupted");
  }
  const std::string& words = status.error_message();
  if (status.error_code() == grpc::StatusCode::CANCELLED &&
      (words.empty() || words == "CANCELLED")) {
    // By gRPC itself, which has no other words: the call came while the server was ending.
    return absl::UnavailableError(absl::StrCat("the server at ", address(), " is ending"));
  }
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
    return absl::UnimplementedError(
        absl::StrCat("what answers at ", address(), " is not a Headlong server of this version"));
  }
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) {
    return absl::UnavailableError(absl::StrCat("server at ", address(), ": ",
                                               status.error_message(),
                                               "; `headlong cluster status` says how it is"));
  }
  return FromGrpc(status);
}

template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> Client::Call(Stub& stub,
                                      grpc::Status (Stub::*method)(grpc::ClientContext*,
                                                                   const Request&, Response*),
                                      const Request& request) {
  AwaitConnection(kReconnectTime);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + options_.call_timeout);
  Response response;
  Watch(&context);
  const grpc::Status status = (stub.*method)(&context, request, &response);
  Unwatch(&context);
  if (!status.ok()) return Explain(status);
  return response;
}

absl::StatusOr<v1::GetModelResponse> Client::GetModel() {
  return Call(*inference_, &v1::Inference::Stub::GetModel, v1::GetModelRequest());
}

absl::StatusOr<std::vector<uint32_t>> Client::Encode(const std::string& text,
                                                     bool add_special_tokens) {
  v1::TokenizeRequest request;
  request.set_text(text);
  request.set_add_special_tokens(add_special_tokens);
  ASSIGN_OR_RETURN(const v1::TokenizeResponse response,
                   Call(*inference_, &v1::Inference::Stub::Tokenize, request));
  return std::vector<uint32_t>(response.token_ids().begin(), response.token_ids().end());
}

absl::StatusOr<std::string> Client::Decode(const std::vector<uint32_t>& ids,
                                           bool keep_special_tokens) {
  v1::DetokenizeRequest request;
  request.mutable_token_ids()->Add(ids.begin(), ids.end());
  request.set_keep_special_tokens(keep_special_tokens);
  ASSIGN_OR_RETURN(v1::DetokenizeResponse response,
                   Call(*inference_, &v1::Inference::Stub::Detokenize, request));
  return std::move(*response.mutable_text());
}

absl::StatusOr<v1::GetClusterResponse> Client::GetCluster() {
  return Call(*admin_, &v1::Admin::Stub::GetCluster, v1::GetClusterRequest());
}

absl::StatusOr<v1::ListWorkersResponse> Client::ListWorkers() {
  return Call(*admin_, &v1::Admin::Stub::ListWorkers, v1::ListWorkersRequest());
}

absl::StatusOr<v1::GetPlacementResponse> Client::GetPlacement(
    const v1::GetPlacementRequest& request) {
  return Call(*admin_, &v1::Admin::Stub::GetPlacement, request);
}

absl::StatusOr<v1::ApplyPlacementResponse> Client::ApplyPlacement(
    const v1::ApplyPlacementRequest& request) {
  return Call(*admin_, &v1::Admin::Stub::ApplyPlacement, request);
}

absl::StatusOr<v1::ApplyPlanResponse> Client::ApplyPlan(const v1::ApplyPlanRequest& request) {
  return Call(*admin_, &v1::Admin::Stub::ApplyPlan, request);
}

absl::StatusOr<v1::PlanPlacementResponse> Client::PlanPlacement(
    const v1::PlanPlacementRequest& request) {
  return Call(*admin_, &v1::Admin::Stub::PlanPlacement, request);
}

absl::StatusOr<v1::ListRequestsResponse> Client::ListRequests() {
  return Call(*admin_, &v1::Admin::Stub::ListRequests, v1::ListRequestsRequest());
}

absl::StatusOr<v1::ListEpochsResponse> Client::ListEpochs() {
  return Call(*admin_, &v1::Admin::Stub::ListEpochs, v1::ListEpochsRequest());
}

absl::Status Client::DrainWorker(const v1::DrainWorkerRequest& request) {
  return Call(*admin_, &v1::Admin::Stub::DrainWorker, request).status();
}

absl::StatusOr<v1::TraceRequestResponse> Client::TraceRequest(const std::string& request_id) {
  v1::TraceRequestRequest request;
  request.set_request_id(request_id);
  return Call(*admin_, &v1::Admin::Stub::TraceRequest, request);
}

absl::Status Client::CancelRequest(const std::string& request_id, bool dry_run) {
  v1::CancelRequestRequest request;
  request.set_request_id(request_id);
  request.set_dry_run(dry_run);
  return Call(*admin_, &v1::Admin::Stub::CancelRequest, request).status();
}

}  // namespace headlong
