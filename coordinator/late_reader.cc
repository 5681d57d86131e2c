#include "coordinator/late_reader.h"

#include <cstdlib>
#include <functional>
#include <string>
#include <utility>

namespace headlong {
namespace {

using grpc::internal::MethodHandler;

// One call whose message is on its way. Deletes itself.
class Reading final : public grpc::internal::CompletionQueueTag {
 public:
  Reading(MethodHandler* handler, const MethodHandler::HandlerParameter& param)
      : handler_(*handler),
        call_(*param.call),
        context_(param.server_context),
        requester_(param.call_requester) {}

  void Start() {
    tag_.Set(
        call_.call(), [this](bool) { Done(); }, this, /*can_inline=*/false);
    grpc_op read = {};
    read.op = GRPC_OP_RECV_MESSAGE;
    read.data.recv_message.recv_message = &message_;
    if (grpc_call_start_batch(call_.call(), &read, 1, &tag_, nullptr) != GRPC_CALL_OK) std::abort();
  }

  bool FinalizeResult(void**, bool*) override { return true; }

 private:
  // Without a message, because the client sent none or is gone, the handler is called all the same,
  // as gRPC does: it ends the call.
  void Done() {
    grpc::Status status;
    void* of_handler = nullptr;
    void* request = handler_.Deserialize(call_.call(), message_, &status, &of_handler);
    handler_.RunHandler(MethodHandler::HandlerParameter(&call_, context_, request, status,
                                                        of_handler, std::move(requester_)));
    delete this;
  }

  MethodHandler& handler_;
  grpc::internal::Call call_;
  grpc::ServerContextBase* const context_;
  std::function<void()> requester_;
  grpc::internal::CallbackWithSuccessTag tag_;
  grpc_byte_buffer* message_ = nullptr;
};

class LateReader final : public MethodHandler {
 public:
  explicit LateReader(std::unique_ptr<MethodHandler> handler) : handler_(std::move(handler)) {}

  void RunHandler(const HandlerParameter& param) override {
    (new Reading(handler_.get(), param))->Start();
  }

 private:
  const std::unique_ptr<MethodHandler> handler_;
};

}  // namespace

MethodHandler* ReadLate(std::unique_ptr<MethodHandler> handler) {
  return new LateReader(std::move(handler));
}

int MethodIndex(const google::protobuf::FileDescriptor& file, std::string_view service,
                std::string_view method) {
  const auto* of_file = file.FindServiceByName(std::string(service));
  if (of_file == nullptr) std::abort();
  const auto* of_service = of_file->FindMethodByName(std::string(method));
  if (of_service == nullptr) std::abort();
  return of_service->index();
}

}  // namespace headlong
