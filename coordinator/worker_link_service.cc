#include "coordinator/worker_link_service.h"

#include <memory>
#include <utility>

#include "coordinator/stream_queue.h"

namespace headlong {
namespace {

class LinkReactor;
using LinkQueue = StreamQueue<LinkReactor, v1::WorkerCommand>;

// What the engine holds of a worker's stream. Outlives the reactor.
class LinkPort final : public WorkerPort {
 public:
  LinkPort(LinkReactor* reactor, grpc::CallbackServerContext* context)
      : queue(reactor), context_(context) {}

  void Send(const v1::WorkerCommand& command) override { queue.Send(command); }
  void Close(const absl::Status& status) override {
    // A worker that does not read would hold the stream open for ever: cut it off.
    if (!status.ok() && queue.writing()) Cut();
    queue.End(status);
  }

  void Cut() {
    const absl::MutexLock lock(&mutex_);
    if (context_ != nullptr) context_->TryCancel();
  }
  void Detach() {
    queue.Detach();
    const absl::MutexLock lock(&mutex_);
    context_ = nullptr;
  }

  LinkQueue queue;

 private:
  absl::Mutex mutex_;
  grpc::CallbackServerContext* context_ ABSL_GUARDED_BY(mutex_);
};

class LinkReactor final : public grpc::ServerBidiReactor<v1::WorkerEvent, v1::WorkerCommand> {
 public:
  LinkReactor(Engine* engine, LinkId link, grpc::CallbackServerContext* context)
      : engine_(*engine), link_(link), port_(std::make_shared<LinkPort>(this, context)) {
    StartRead(&event_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      engine_.Post([engine = &engine_, link = link_] { engine->WorkerClosed(link); });
      port_->queue.Abandon(absl::CancelledError("the worker closed the stream"));
      return;
    }
    if (event_.has_register_()) {
      engine_.Post([engine = &engine_, link = link_, port = port_, event = std::move(event_)] {
        engine->WorkerRegistered(link, event.register_(), port);
      });
    } else {
      engine_.Post([engine = &engine_, link = link_, event = std::move(event_)] {
        engine->WorkerEvent(link, event);
      });
    }
    event_.Clear();
    StartRead(&event_);
  }

  void OnWriteDone(bool ok) override { port_->queue.Written(ok); }
  void End(const absl::Status& status) { Finish(ToGrpc(status)); }
  void OnDone() override {
    port_->Detach();
    delete this;
  }

 private:
  Engine& engine_;
  const LinkId link_;
  const std::shared_ptr<LinkPort> port_;
  v1::WorkerEvent event_;
};

}  // namespace

grpc::ServerBidiReactor<v1::WorkerEvent, v1::WorkerCommand>* WorkerLinkService::Connect(
    grpc::CallbackServerContext* context) {
  return new LinkReactor(&engine_, next_link_++, context);
}

grpc::ServerUnaryReactor* WorkerLinkService::CheckRegister(grpc::CallbackServerContext* context,
                                                           const v1::Register* request,
                                                           v1::CheckRegisterResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  engine_.Post([this, reactor, request, response] {
    const absl::StatusOr<v1::CheckRegisterResponse> welcome = engine_.CheckRegister(*request);
    if (welcome.ok()) *response = *welcome;
    reactor->Finish(ToGrpc(welcome.status()));
  });
  return reactor;
}

grpc::ServerUnaryReactor* WorkerLinkService::PutKey(grpc::CallbackServerContext* context,
                                                    const v1::PutKeyRequest* request,
                                                    v1::PutKeyResponse*) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  engine_.Post([this, reactor, request] {
    reactor->Finish(ToGrpc(engine_.PutKey(request->epoch(), request->key(), request->value())));
  });
  return reactor;
}

grpc::ServerUnaryReactor* WorkerLinkService::GetKey(grpc::CallbackServerContext* context,
                                                    const v1::GetKeyRequest* request,
                                                    v1::GetKeyResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  engine_.Post([this, reactor, request, response] {
    auto value = engine_.GetKey(request->epoch(), request->key());
    if (value.ok()) response->set_value(*value);
    reactor->Finish(ToGrpc(value.status()));
  });
  return reactor;
}

}  // namespace headlong
