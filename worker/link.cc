#include "worker/link.h"

#include <thread>

#include "common/grpc_status.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr std::chrono::milliseconds kCallTimeout{2000};  // one rendezvous call
constexpr std::chrono::milliseconds kPollInterval{5};

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address, const TlsFiles& tls) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 2000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 2000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Each link is a connection of its own: a stale one must not be found again.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(
      address, tls.any() ? MakeChannelCredentials(tls) : grpc::InsecureChannelCredentials(),
      arguments);
}

}  // namespace

CoordinatorLink::CoordinatorLink(const std::string& address, const TlsFiles& tls)
    : stub_(v1::WorkerLink::NewStub(OpenChannel(address, tls))) {}

CoordinatorLink::~CoordinatorLink() { Cancel(); }

absl::StatusOr<v1::Registered> CoordinatorLink::Register(const v1::Register& registration,
                                                         std::chrono::milliseconds timeout) {
  // The deadline is for getting through; the stream itself has none.
  std::atomic<bool> answered{false};
  std::thread watch([&] {
    const auto end = std::chrono::steady_clock::now() + timeout;
    while (!answered && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    if (!answered) Cancel();
  });
  stream_ = stub_->Connect(&context_);
  v1::WorkerEvent event;
  *event.mutable_register_() = registration;
  v1::WorkerCommand command;
  const bool registered = Send(event) && Receive(command) && command.has_registered();
  answered = true;
  watch.join();
  if (registered) return command.registered();
  const absl::Status status = Finish();
  if (absl::IsCancelled(status)) return absl::UnavailableError("the coordinator does not answer");
  return status.ok() ? absl::UnavailableError("the coordinator closed the stream") : status;
}

bool CoordinatorLink::Send(const v1::WorkerEvent& event) {
  const std::lock_guard<std::mutex> lock(send_mutex_);
  return stream_->Write(event);
}

bool CoordinatorLink::Receive(v1::WorkerCommand& command) { return stream_->Read(&command); }

absl::Status CoordinatorLink::Finish() {
  const std::lock_guard<std::mutex> lock(send_mutex_);
  return FromGrpc(stream_->Finish());
}

void CoordinatorLink::Cancel() { context_.TryCancel(); }

absl::Status LinkRendezvous::Put(const std::string& key, const std::string& value) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
  v1::PutKeyRequest request;
  request.set_epoch(epoch_);
  request.set_key(key);
  request.set_value(value);
  v1::PutKeyResponse response;
  return Annotate(FromGrpc(stub_.PutKey(&context, request, &response)), "rendezvous");
}

absl::StatusOr<std::string> LinkRendezvous::Get(const std::string& key,
                                                std::chrono::milliseconds timeout) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  v1::GetKeyRequest request;
  request.set_epoch(epoch_);
  request.set_key(key);
  while (true) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
    v1::GetKeyResponse response;
    const grpc::Status status = stub_.GetKey(&context, request, &response);
    if (status.ok()) return response.value();
    if (status.error_code() != grpc::StatusCode::NOT_FOUND) {
      return Annotate(FromGrpc(status), "rendezvous");
    }
    if (newest_epoch_.load() > epoch_) return absl::AbortedError("a newer epoch has begun");
    if (std::chrono::steady_clock::now() > end) {
      return absl::DeadlineExceededError(absl::StrCat("rendezvous: ", key, " did not come"));
    }
    std::this_thread::sleep_for(kPollInterval);
  }
}

}  // namespace headlong
