// The worker's end of the wire: one stream to the coordinator and the rendezvous calls beside it.
// Send may be called from any thread; Receive from one.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "common/tls.h"
#include "grpcpp/grpcpp.h"
#include "headlong/v1/worker.grpc.pb.h"
#include "worker/collective.h"

namespace headlong {

class CoordinatorLink {
 public:
  // `address`: host:port of the coordinator's worker port. Does not connect yet. Without files: no
  // TLS.
  CoordinatorLink(const std::string& address, const TlsFiles& tls);
  ~CoordinatorLink();

  // Opens the stream and registers. UNAVAILABLE when the coordinator is not reached within
  // `timeout`; FAILED_PRECONDITION and others as the coordinator says.
  absl::StatusOr<v1::Registered> Register(const v1::Register& registration,
                                          std::chrono::milliseconds timeout);

  // False once the stream is closed.
  bool Send(const v1::WorkerEvent& event);
  bool Receive(v1::WorkerCommand& command);
  // Why the stream closed. Call after Receive returned false.
  absl::Status Finish();
  // Ends the stream from any thread; Receive returns false.
  void Cancel();

  v1::WorkerLink::Stub& stub() { return *stub_; }

 private:
  const std::unique_ptr<v1::WorkerLink::Stub> stub_;
  grpc::ClientContext context_;
  std::mutex send_mutex_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::WorkerEvent, v1::WorkerCommand>> stream_;
};

// Keys of one epoch, kept by the coordinator. `newest_epoch` says which epoch the worker was last
// told of: waiting for a peer ends (ABORTED) once that is a later one.
class LinkRendezvous final : public Rendezvous {
 public:
  LinkRendezvous(v1::WorkerLink::Stub& stub, const std::atomic<uint64_t>& newest_epoch)
      : stub_(stub), newest_epoch_(newest_epoch) {}
  void set_epoch(uint64_t epoch) { epoch_ = epoch; }

  absl::Status Put(const std::string& key, const std::string& value) override;
  absl::StatusOr<std::string> Get(const std::string& key,
                                  std::chrono::milliseconds timeout) override;
  bool Abandoned() const override { return newest_epoch_ > epoch_; }

 private:
  v1::WorkerLink::Stub& stub_;
  const std::atomic<uint64_t>& newest_epoch_;
  uint64_t epoch_ = 0;
};

}  // namespace headlong
