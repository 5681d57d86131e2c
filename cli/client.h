// The connection of a command to a server: one channel, calls that end at Ctrl-C, errors that say
// what to do next. Thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "common/grpc_status.h"
#include "common/tls.h"
#include "headlong/v1/admin.grpc.pb.h"
#include "headlong/v1/inference.grpc.pb.h"

namespace headlong {

// Cancels the registered calls when the user interrupts the program.
class CallCanceller {
 public:
  CallCanceller();
  ~CallCanceller();
  CallCanceller(const CallCanceller&) = delete;

  void Add(grpc::ClientContext* context) ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(grpc::ClientContext* context) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Watch() ABSL_LOCKS_EXCLUDED(mutex_);

  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::set<grpc::ClientContext*> contexts_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

struct ClientOptions {
  std::string address;
  bool tls = false;
  TlsFiles tls_files = {};
  std::string token = {};  // needs TLS
  std::chrono::milliseconds connect_timeout{5000};
  std::chrono::milliseconds call_timeout{60000};  // of everything but Generate
  bool cancel_on_interrupt = true;
};

class Client {
 public:
  // Waits until the server answers: UNAVAILABLE with the next step to take when it does not.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const ClientOptions& options);

  const std::string& address() const { return options_.address; }
  v1::Inference::Stub& inference() { return *inference_; }

  // Waits until there is a connection, up to `limit` or Ctrl-C. A lost one is made anew only while
  // somebody waits: calls that fail at once leave no time for a TLS handshake.
  void AwaitConnection(std::chrono::milliseconds limit);

  // Between these two, Ctrl-C cancels the call of `context`.
  void Watch(grpc::ClientContext* context);
  void Unwatch(grpc::ClientContext* context);

  absl::StatusOr<v1::GetModelResponse> GetModel();
  absl::StatusOr<std::vector<uint32_t>> Encode(const std::string& text, bool add_special_tokens);
  absl::StatusOr<std::string> Decode(const std::vector<uint32_t>& ids, bool keep_special_tokens);
  absl::StatusOr<v1::GetClusterResponse> GetCluster();
  absl::StatusOr<v1::ListWorkersResponse> ListWorkers();
  // Takes a worker out of service, or lets it back in. Does not wait for it.
  absl::Status DrainWorker(const v1::DrainWorkerRequest& request);
  absl::StatusOr<v1::GetPlacementResponse> GetPlacement(
      const v1::GetPlacementRequest& request = {});
  absl::StatusOr<v1::ApplyPlacementResponse> ApplyPlacement(
      const v1::ApplyPlacementRequest& request);
  absl::StatusOr<v1::ApplyPlanResponse> ApplyPlan(const v1::ApplyPlanRequest& request);
  absl::StatusOr<v1::PlanPlacementResponse> PlanPlacement(const v1::PlanPlacementRequest& request);
  absl::StatusOr<v1::ListRequestsResponse> ListRequests();
  absl::StatusOr<v1::ListEpochsResponse> ListEpochs();
  absl::StatusOr<v1::TraceRequestResponse> TraceRequest(const std::string& request_id);
  absl::Status CancelRequest(const std::string& request_id, bool dry_run);

  // What a failed call means to a user of this server.
  absl::Status Explain(const grpc::Status& status) const;

 private:
  Client(const ClientOptions& options, std::shared_ptr<grpc::Channel> channel);

  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Call(Stub& stub,
                                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                const Request& request);

  const ClientOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Inference::Stub> inference_;
  const std::unique_ptr<v1::Admin::Stub> admin_;
  std::unique_ptr<CallCanceller> canceller_;  // null unless cancel_on_interrupt
};

}  // namespace headlong
