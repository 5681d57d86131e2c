// A worker without a model: speaks headlong.v1.WorkerLink as a real one does, samples tokens that
// are a function of the sequence's log alone, and checks that what it is told makes sense. Its
// threads are its own; every method may be called from any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/grpcpp.h"
#include "headlong/v1/worker.grpc.pb.h"

namespace headlong {

struct FakeWorkerOptions {
  std::string id = "w0";
  int64_t pid = 1;
  std::string fingerprint;
  int64_t memory_bytes = int64_t{1} << 30;
  std::chrono::milliseconds step_time{0};
  double sums_ms = 0;                // says that it spent so much of each step in sums
  int die_at_step = 0;               // drops the stream instead of answering it; 0: never
  bool lingers_at_shutdown = false;  // keeps the stream open after Shutdown
  v1::SharedProfile shared;          // what it tells when it is to measure
  bool keeps_lanes = true;           // goes on with the sequences of a transfer where it has them
};

// The token after `log`, of a vocabulary of `vocab_size`.
uint32_t FakeToken(const std::vector<uint32_t>& log, uint32_t vocab_size);
// `count` tokens after `prompt`.
std::vector<uint32_t> FakeTokens(std::vector<uint32_t> prompt, int count, uint32_t vocab_size);

class FakeWorker {
 public:
  static constexpr uint32_t kVocab = 1000;

  FakeWorker(const std::string& address, FakeWorkerOptions options);
  ~FakeWorker();  // Drop

  void Drop();    // the stream breaks, as when the process dies
  void Freeze();  // no beats and no answers, the stream stays
  void Resume();

  // The end of the stream: its status. Waits for it.
  grpc::Status WaitClosed();
  bool WaitIdle(std::chrono::milliseconds timeout);  // until no sequence is held
  bool saw_shutdown() const;
  int steps() const;              // computed, in all epochs
  int sent_ahead() const;         // tokens it had to take from what it sampled itself
  uint64_t epoch() const;         // last one configured
  std::string complaint() const;  // the first thing the coordinator did wrong; empty: none

 private:
  void Read();
  void Beat();
  void Handle(const v1::WorkerCommand& command);
  void Configure(const v1::Configure& configure);
  bool KeepLanes(const v1::LaneTransfer& transfer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RunStep(const v1::Step& step);
  void Compute(const v1::BatchEntry& entry, v1::StepDone& done)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Complain(const std::string& what) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Send(const v1::WorkerEvent& event);

  const FakeWorkerOptions options_;
  std::unique_ptr<v1::WorkerLink::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::WorkerEvent, v1::WorkerCommand>> stream_;
  absl::Mutex send_mutex_;  // one write at a time

  mutable absl::Mutex mutex_;
  std::map<uint64_t, std::vector<uint32_t>> logs_ ABSL_GUARDED_BY(mutex_);
  std::set<uint64_t> sampled_ ABSL_GUARDED_BY(mutex_);  // in the step before
  uint64_t epoch_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t step_ ABSL_GUARDED_BY(mutex_) = 0;  // of the epoch
  uint32_t rank_ ABSL_GUARDED_BY(mutex_) = 0;
  int steps_ ABSL_GUARDED_BY(mutex_) = 0;
  int sent_ahead_ ABSL_GUARDED_BY(mutex_) = 0;
  bool frozen_ ABSL_GUARDED_BY(mutex_) = false;
  bool saw_shutdown_ ABSL_GUARDED_BY(mutex_) = false;
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::string complaint_ ABSL_GUARDED_BY(mutex_);
  grpc::Status end_ ABSL_GUARDED_BY(mutex_);
  std::thread reader_;
  std::thread beat_;
};

}  // namespace headlong
