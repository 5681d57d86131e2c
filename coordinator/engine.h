// The coordinator's loop: schedule, step, deliver. One thread owns all of its state; other threads
// post closures, which run on that thread. Knows neither gRPC nor tensors.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "cache/plan.h"
#include "coordinator/engine_options.h"
#include "coordinator/history.h"
#include "coordinator/live_request.h"
#include "coordinator/mailbox.h"
#include "coordinator/moves.h"
#include "coordinator/placement.h"
#include "coordinator/ports.h"
#include "coordinator/request_traces.h"
#include "coordinator/scheduler.h"
#include "coordinator/step_in_flight.h"
#include "headlong/v1/admin.pb.h"

namespace headlong {

class Engine {
 public:
  // `config`, `plan` and `tokenizer` outlive the engine.
  Engine(const EngineOptions& options, const ModelConfig* config, const Plan* plan,
         const Tokenizer* tokenizer);
  ~Engine();     // Stop(0) and Join
  void Start();  // once OnServing is set: told whenever the cluster begins or ceases to serve
  // Takes no new requests, waits up to `drain` for those that run, fails the rest, and ends the
  // workers or their streams. From any thread but the engine's; idempotent.
  void Stop(Millis drain);
  void Join();  // ends the thread; calls that are posted later never run
  bool joined() const { return joining_; }                                   // or about to be
  void Post(std::function<void()> call) { mailbox_.Post(std::move(call)); }  // from any thread
  void OnServing(std::function<void(bool)> callback) { on_serving_ = std::move(callback); }
  // ---- engine thread only; a request's port hears of all that follows, refusals included ----
  void Submit(Request request, std::shared_ptr<ClientPort> client,
              std::chrono::system_clock::time_point deadline);
  absl::Status Cancel(const std::string& request_id, bool dry_run = false);  // or NOT_FOUND
  // Of this coordinator, where it would take the worker; else why not.
  absl::StatusOr<v1::CheckRegisterResponse> CheckRegister(const v1::Register& registration) const;
  void WorkerRegistered(LinkId link, const v1::Register& registration,
                        std::shared_ptr<WorkerPort> port);
  void WorkerEvent(LinkId link, const v1::WorkerEvent& event);
  void WorkerClosed(LinkId link);
  absl::Status PutKey(uint64_t epoch, const std::string& key, const std::string& value);
  absl::StatusOr<std::string> GetKey(uint64_t epoch, const std::string& key) const;
  // What operators ask (errors: admin.proto): a new epoch. The answer is the one that ends for it.
  absl::Status Drain(const v1::DrainWorkerRequest& ask);
  absl::StatusOr<uint64_t> ApplyPlacement(const v1::ApplyPlacementRequest& ask);
  absl::StatusOr<uint64_t> ApplyPlan(const v1::ApplyPlanRequest& ask);
  const Plan& plan() const { return *plan_; }
  const History& history() const { return history_; }
  const RequestTraces& traces() const { return traces_; }
  void Describe(v1::GetClusterResponse& out) const;
  void Describe(v1::ListWorkersResponse& out) const;
  void Describe(v1::ListRequestsResponse& out) const;
  // Without what takes time: placing and figures, for which the problem is all that is needed.
  absl::StatusOr<PlacementProblem> Describe(const v1::GetPlacementRequest& ask,
                                            v1::GetPlacementResponse& out) const;
  absl::StatusOr<PlacementProblem> ProblemNow(const v1::PlanPlacementRequest& ask,
                                              v1::PlanPlacementResponse& out) const;
  std::string dtype() const { return bf16_ ? "bf16" : "fp32"; }
  uint64_t epoch() const { return cluster_.epoch(); }

 private:
  void Loop();
  void EndWork();
  void Apply(const ClusterActions& actions, bool blame_requests);
  void StopWork(bool blame_requests);
  PlacementProblem Problem(const std::vector<LinkId>& members) const;
  void BeginEpoch();
  void SendEpoch();
  void Configured(LinkId link, const v1::ConfigureDone& done);
  void BeginServing();
  void WorkerLeaves(LinkId link);
  void ReleaseLeaving();
  void SendShutdown(LinkId link, const std::string& reason);
  absl::Status CheckWithout(const std::string& worker_id) const;  // FAILED_PRECONDITION
  void MaybeMove();
  void MaybeStep();
  void Send(std::optional<v1::Step> step);
  void StepDone(LinkId link, const v1::StepDone& done);
  void Deliver(const v1::StepDone& done);
  void Finish(uint64_t id);
  void Fail(uint64_t id, const absl::Status& status);
  void ExpireWaiting();
  void SetServing(bool serving);

  const EngineOptions options_;
  const ModelConfig& config_;
  const Plan* plan_;  // in force
  const Tokenizer* const tokenizer_;
  Mailbox mailbox_;
  std::thread thread_;
  std::atomic<bool> draining_{false}, stopping_{false}, joining_{false}, idle_{true};
  std::atomic<bool> stopped_{false};  // work has ended; posted calls are still answered
  std::function<void(bool)> on_serving_;
  Cluster cluster_;  // from here on: engine thread only
  Scheduler scheduler_;
  std::map<LinkId, std::shared_ptr<WorkerPort>> ports_;
  std::map<uint64_t, LiveRequest> requests_;     // by sequence id: order of arrival
  std::map<std::string, uint64_t> request_ids_;  // request id -> sequence id
  uint64_t next_sequence_ = 1;
  v1::Placement placement_;
  PlacementLink link_;                             // measured last
  std::map<std::string, std::string> rendezvous_;  // of the current epoch
  Steps steps_;
  Moves moves_;
  History history_;
  RequestTraces traces_;
  bool serving_ = false, bf16_ = false;  // bf16_: chosen once, later tokens must not change
};

}  // namespace headlong
