#include "tests/fakes/fake_worker.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/wire.h"

namespace headlong {
namespace {

constexpr std::chrono::milliseconds kBeatInterval{100};

std::shared_ptr<grpc::Channel> OwnChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

uint32_t FakeToken(const std::vector<uint32_t>& log, uint32_t vocab_size) {
  uint64_t hash = 14695981039346656037u;
  for (const uint32_t token : log) hash = (hash ^ token) * 1099511628211u;
  return static_cast<uint32_t>((hash >> 20) % vocab_size);
}

std::vector<uint32_t> FakeTokens(std::vector<uint32_t> prompt, int count, uint32_t vocab_size) {
  std::vector<uint32_t> tokens;
  for (int i = 0; i < count; ++i) {
    tokens.push_back(FakeToken(prompt, vocab_size));
    prompt.push_back(tokens.back());
  }
  return tokens;
}

FakeWorker::FakeWorker(const std::string& address, FakeWorkerOptions options)
    : options_(std::move(options)), stub_(v1::WorkerLink::NewStub(OwnChannel(address))) {
  stream_ = stub_->Connect(&context_);
  v1::WorkerEvent event;
  v1::Register& registration = *event.mutable_register_();
  registration.set_protocol(kWireProtocol);
  registration.set_worker_id(options_.id);
  registration.set_pid(options_.pid);
  registration.set_host("127.0.0.1");
  registration.set_device("cpu");
  registration.set_memory_bytes(options_.memory_bytes);
  registration.set_read_bytes_per_s(1e10);
  registration.set_matmul_flops(1e11);
  registration.set_model_fingerprint(options_.fingerprint);
  Send(event);
  reader_ = std::thread([this] { Read(); });
  beat_ = std::thread([this] { Beat(); });
}

FakeWorker::~FakeWorker() {
  Drop();
  reader_.join();
  beat_.join();
}

void FakeWorker::Drop() { context_.TryCancel(); }

void FakeWorker::Freeze() {
  const absl::MutexLock lock(&mutex_);
  frozen_ = true;
}

void FakeWorker::Resume() {
  const absl::MutexLock lock(&mutex_);
  frozen_ = false;
}

grpc::Status FakeWorker::WaitClosed() {
  const absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&closed_));
  return end_;
}

bool FakeWorker::WaitIdle(std::chrono::milliseconds timeout) {
  const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return logs_.empty(); };
  const absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&idle), absl::FromChrono(timeout));
}

bool FakeWorker::saw_shutdown() const {
  const absl::MutexLock lock(&mutex_);
  return saw_shutdown_;
}

int FakeWorker::sent_ahead() const {
  const absl::MutexLock lock(&mutex_);
  return sent_ahead_;
}

int FakeWorker::steps() const {
  const absl::MutexLock lock(&mutex_);
  return steps_;
}

uint64_t FakeWorker::epoch() const {
  const absl::MutexLock lock(&mutex_);
  return epoch_;
}

std::string FakeWorker::complaint() const {
  const absl::MutexLock lock(&mutex_);
  return complaint_;
}

void FakeWorker::Read() {
  v1::WorkerCommand command;
  while (stream_->Read(&command)) Handle(command);
  const absl::MutexLock send_lock(&send_mutex_);
  const grpc::Status end = stream_->Finish();
  const absl::MutexLock lock(&mutex_);
  end_ = end;
  closed_ = true;
}

void FakeWorker::Beat() {
  while (true) {
    v1::WorkerEvent event;
    bool frozen = false;
    {
      const absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&closed_), absl::FromChrono(kBeatInterval))) {
        return;
      }
      frozen = frozen_;
      event.mutable_heartbeat()->set_epoch(epoch_);
      event.mutable_heartbeat()->set_progress(static_cast<uint64_t>(steps_));
    }
    if (!frozen) Send(event);
  }
}

void FakeWorker::Send(const v1::WorkerEvent& event) {
  const absl::MutexLock send_lock(&send_mutex_);
  {
    const absl::MutexLock lock(&mutex_);
    if (closed_ || half_closed_) return;
  }
  stream_->Write(event);
}

void FakeWorker::Handle(const v1::WorkerCommand& command) {
  {
    const absl::MutexLock lock(&mutex_);
    if (frozen_) return;
  }
  if (command.has_configure()) Configure(command.configure());
  if (command.has_step()) RunStep(command.step());
  if (command.has_shutdown()) {
    const absl::MutexLock send_lock(&send_mutex_);
    {
      const absl::MutexLock lock(&mutex_);
      saw_shutdown_ = true;
      half_closed_ = !options_.lingers_at_shutdown;
    }
    if (!options_.lingers_at_shutdown) stream_->WritesDone();
  }
}

void FakeWorker::Configure(const v1::Configure& configure) {
  v1::WorkerEvent event;
  {
    const absl::MutexLock lock(&mutex_);
    if (configure.epoch() <= epoch_) Complain("an epoch that is not newer");
    const bool kept = KeepLanes(configure.transfer());
    epoch_ = configure.epoch();
    rank_ = configure.rank();
    step_ = 0;
    event.mutable_configure_done()->set_epoch(epoch_);
    event.mutable_configure_done()->set_lanes_kept(kept);
    if (configure.measure()) *event.mutable_configure_done()->mutable_shared() = options_.shared;
  }
  Send(event);
}

bool FakeWorker::KeepLanes(const v1::LaneTransfer& transfer) {
  std::map<uint64_t, std::vector<uint32_t>> kept;
  for (const v1::LiveSequence& sequence : transfer.sequences()) {
    const auto log = logs_.find(sequence.sequence_id());
    if (!options_.keeps_lanes || log == logs_.end()) break;
    if (transfer.from_epoch() != epoch_) Complain("lanes of another epoch");
    if (log->second.size() != sequence.committed()) Complain("lanes of another length");
    kept.insert(*log);
  }
  const bool all = !kept.empty() && static_cast<int>(kept.size()) == transfer.sequences_size();
  logs_.clear();
  if (all) logs_ = std::move(kept);
  return all;
}

void FakeWorker::RunStep(const v1::Step& step) {
  std::this_thread::sleep_for(options_.step_time);
  v1::WorkerEvent event;
  {
    const absl::MutexLock lock(&mutex_);
    if (step.epoch() != epoch_ || step.step() != ++step_) return Complain("a step out of turn");
    if (++steps_ == options_.die_at_step) return Drop();
    v1::StepDone& done = *event.mutable_step_done();
    done.set_epoch(step.epoch());
    done.set_collective_ms(options_.sums_ms);
    done.set_step(step.step());
    for (const uint64_t id : step.ended()) {
      if (logs_.erase(id) == 0) Complain(absl::StrCat("ends ", id, ", which is not here"));
    }
    for (const v1::SequenceStart& start : step.started()) {
      if (!logs_.try_emplace(start.sequence_id()).second) Complain("starts a sequence twice");
    }
    for (const v1::BatchEntry& entry : step.entries()) Compute(entry, done);
    sampled_.clear();
    for (const v1::Sample& sample : done.samples()) sampled_.insert(sample.sequence_id());
    if (rank_ != 0) done.clear_samples();
  }
  Send(event);
}

void FakeWorker::Compute(const v1::BatchEntry& entry, v1::StepDone& done) {
  const auto log = logs_.find(entry.sequence_id());
  if (log == logs_.end()) return Complain("tokens of a sequence that was not started");
  if (entry.position() != log->second.size()) Complain("positions with a gap or twice");
  log->second.insert(log->second.end(), entry.tokens().begin(), entry.tokens().end());
  if (entry.sampled_before()) {
    if (!sampled_.contains(entry.sequence_id())) Complain("a token that was not sampled before");
    log->second.push_back(FakeToken(log->second, kVocab));
    ++sent_ahead_;
  }
  if (!entry.sample()) return;
  v1::Sample& sample = *done.add_samples();
  sample.set_sequence_id(entry.sequence_id());
  sample.set_token_id(FakeToken(log->second, kVocab));
}

void FakeWorker::Complain(const std::string& what) {
  if (complaint_.empty()) complaint_ = what;
}

}  // namespace headlong
