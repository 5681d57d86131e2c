#include "tests/worker/local_workers.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <thread>
#include <utility>

#include "common/status.h"

namespace headlong {
namespace {

// Rank r's part of [0, total), uneven on purpose: the first ranks get a little more.
v1::Range Part(int total, int rank, int world) {
  const auto border = [&](int r) {
    return r == world ? total : std::min(total, (total * r) / world + (r == 0 ? 0 : total % 7));
  };
  v1::Range range;
  range.set_begin(border(rank));
  range.set_end(border(rank + 1));
  return range;
}

// What rank r holds of a head. Whole heads are scattered and uneven; with more than two workers
// some layers leave one without heads. Of retrieval heads one in four stays whole, and those of
// layer 2.
std::vector<HeadStripe> StripesOf(LaneId id, bool full, const LocalOptions& options, int rank) {
  const int scattered = id.layer * 5 + id.head * 3 + id.layer * id.head;
  if (options.stripes.empty()) {
    if (scattered % options.workers != rank) return {};
    return {{id, 0, 1}};
  }
  std::vector<int> owners;  // ranks that hold heads
  for (int r = 0; r < options.workers; ++r) {
    if (options.stripes[r] > 0) owners.push_back(r);
  }
  if (!full || id.layer == 2 || (id.layer + id.head) % 4 == 3) {
    if (owners[scattered % owners.size()] != rank) return {};
    return {{id, 0, 1}};
  }
  const auto first = options.stripes.begin();
  const int of = std::accumulate(first, options.stripes.end(), 0);
  const int begin = std::accumulate(first, first + rank, 0);
  std::vector<HeadStripe> stripes;
  for (int i = 0; i < options.stripes[rank]; ++i) stripes.push_back({id, begin + i, of});
  return stripes;
}

float RoundToBits(float value, int bits) {
  int exponent = 0;
  const float mantissa = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(mantissa, bits)), exponent - bits);
}

bool HasLocal(const Plan& plan) {
  return plan.SequenceBytes(1 << 20, 1 << 20, 64, 4) < plan.FullSequenceBytes(1 << 20, 64, 4);
}

}  // namespace

absl::Status MemoryRendezvous::Put(const std::string& key, const std::string& value) {
  const std::lock_guard<std::mutex> lock(mutex_);
  values_[key] = value;
  changed_.notify_all();
  return absl::OkStatus();
}

absl::StatusOr<std::string> MemoryRendezvous::Get(const std::string& key,
                                                  std::chrono::milliseconds timeout) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!changed_.wait_for(lock, timeout, [&] { return values_.contains(key); })) {
    return absl::DeadlineExceededError(key);
  }
  return values_[key];
}

void MemoryRendezvous::Clear() {
  const std::lock_guard<std::mutex> lock(mutex_);
  values_.clear();
}

absl::StatusOr<std::vector<DeviceChoice>> DevicesOf(On on) {
  std::vector<DeviceChoice> devices;
  if (on == On::kCpu) return devices;
  ASSIGN_OR_RETURN(const std::vector<Gpu> gpus, FindGpus());
  for (const Gpu& gpu : gpus) {
    if (gpu.refusal.empty()) devices.push_back({gpu.index, gpu.name, gpu.uuid});
  }
  if (devices.empty()) return absl::UnavailableError("this build has no code for the GPUs here");
  return devices;
}

absl::StatusOr<std::unique_ptr<LocalWorkers>> LocalWorkers::Begin(const LocalOptions& options) {
  auto workers = std::unique_ptr<LocalWorkers>(new LocalWorkers);
  ASSIGN_OR_RETURN(workers->config_, LoadModelConfig(options.model_dir));
  ASSIGN_OR_RETURN(workers->checkpoint_,
                   options.dummy ? Checkpoint::Dummy(workers->config_)
                                 : Checkpoint::Open(options.model_dir, workers->config_));
  for (float& frequency : workers->config_.rope_frequencies) {
    frequency = RoundToBits(frequency, options.rope_bits);
  }
  const PlanShape shape = PlanShapeOf(workers->config_);
  absl::StatusOr<Plan> plan = options.plan.starts_with('{')
                                  ? Plan::FromJson(options.plan, shape, "test plan")
                                  : Plan::Load(options.plan, options.model_dir, shape);
  RETURN_IF_ERROR(plan.status());
  if (options.projections != nullptr) RETURN_IF_ERROR(plan->UseProjections(options.projections));
  workers->plan_ = std::make_unique<Plan>(*std::move(plan));
  workers->sampling_ = options.sampling;
  RETURN_IF_ERROR(workers->BeginEpoch(options).status());
  return workers;
}

// What a session does with a Configure or a HandOver.
absl::Status LocalWorkers::BeginOne(const LocalOptions& options, v1::Configure configure,
                                    Joining& joining) {
  omp_set_num_threads(options.workers == 1 ? 2 : 1);
  std::unique_ptr<Device>& device = devices_[joining.worker];
  if (device == nullptr) {
    const size_t devices = options.devices.size();
    device = std::make_unique<Device>(
        devices == 0 ? DeviceChoice{-1, "cpu", ""} : options.devices[joining.worker % devices],
        options.cuda_graphs);
  }
  std::unique_ptr<LaneTransfer> transfer;
  if (configure.has_transfer()) {
    ASSIGN_OR_RETURN(transfer, LaneTransfer::Create(configure, joining.worker, config_, ""));
    if (joining.ended != nullptr) {
      // Exchange tells whether it went well.
      (void)transfer->Pack(joining.ended->tables(), device->backend(), progress_);
    }
  }
  joining.ended.reset();
  if (transfer != nullptr) {
    ASSIGN_OR_RETURN(joining.moved, transfer->Exchange("127.0.0.1", rendezvous_, progress_));
  }
  const int rank = joining.worker - options.first_worker;
  if (rank < 0 || rank >= options.workers) return absl::OkStatus();
  configure.set_rank(rank);
  EpochResources resources;
  resources.config = &config_;
  resources.checkpoint = checkpoint_.get();
  resources.device = device.get();
  resources.rendezvous = &rendezvous_;
  resources.progress = &progress_;
  resources.host = "127.0.0.1";
  resources.sums = options.sums;
  resources.keeps_logits = options.keeps_logits;
  ASSIGN_OR_RETURN(joining.begun, Epoch::Begin(configure, resources, [](int64_t, int64_t) {}));
  return joining.moved ? joining.begun->Adopt(*transfer) : absl::OkStatus();
}

void LocalWorkers::AddTransfer(const LocalOptions& to, v1::Configure& configure) const {
  v1::LaneTransfer& transfer = *configure.mutable_transfer();
  transfer.set_from_epoch(epoch_ - 1);
  *transfer.mutable_from() = placement_;
  for (const auto& [id, sequence] : live_) *transfer.add_sequences() = sequence;
  const int before = first_worker_ + static_cast<int>(epochs_.size());
  const int after = to.first_worker + to.workers;
  for (int worker = 0; worker < std::max(before, after); ++worker) {
    transfer.add_workers(absl::StrCat("w", worker));
  }
}

absl::StatusOr<bool> LocalWorkers::BeginEpoch(const LocalOptions& options) {
  ++epoch_;
  steps_ = 0;
  rendezvous_.Clear();
  v1::Configure configure = MakeConfigure(options);
  if (!live_.empty()) AddTransfer(options, configure);
  const int before = first_worker_ + static_cast<int>(epochs_.size());
  const int count = std::max(before, options.first_worker + options.workers);
  if (static_cast<int>(devices_.size()) < count) devices_.resize(count);
  std::vector<Joining> joining(count);
  std::vector<absl::Status> statuses(count);
  std::vector<std::thread> threads;
  for (int worker = 0; worker < count; ++worker) {
    joining[worker].worker = worker;
    const int rank = worker - first_worker_;
    if (rank >= 0 && worker < before) joining[worker].ended = std::move(epochs_[rank]);
    threads.emplace_back(
        [&, worker] { statuses[worker] = BeginOne(options, configure, joining[worker]); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : statuses) RETURN_IF_ERROR(status);
  first_worker_ = options.first_worker;
  placement_ = configure.placement();
  epochs_.clear();
  for (int rank = 0; rank < options.workers; ++rank) {
    epochs_.push_back(std::move(joining[first_worker_ + rank].begun));
  }
  const bool moved = joining[0].moved;
  if (!moved) live_.clear();
  return moved;
}

void LocalWorkers::Follow(const v1::Step& step) {
  for (const uint64_t id : step.ended()) live_.erase(id);
  for (const v1::SequenceStart& start : step.started()) {
    v1::LiveSequence& sequence = live_[start.sequence_id()];
    sequence.set_sequence_id(start.sequence_id());
    sequence.set_prompt_tokens(start.prompt_tokens());
    *sequence.mutable_sampling() = start.sampling();
  }
  for (const v1::BatchEntry& entry : step.entries()) {
    const bool done =
        entry.layer_end() == 0 || entry.layer_end() == static_cast<uint32_t>(config_.layers);
    if (done) live_[entry.sequence_id()].set_committed(entry.position() + entry.tokens_size());
  }
}

v1::Configure LocalWorkers::MakeConfigure(const LocalOptions& options) const {
  v1::Configure configure;
  configure.set_epoch(epoch_);
  configure.set_plan_json(plan_->ToJson());
  if (plan_->projections() != nullptr) {
    for (const auto& [place, head] : plan_->projections()->heads()) {
      v1::HeadProjection& wire = *configure.add_projections();
      wire.set_layer(place.first);
      wire.set_head(place.second);
      wire.mutable_keys()->Add(head.keys.begin(), head.keys.end());
      wire.mutable_values()->Add(head.values.begin(), head.values.end());
    }
  }
  configure.set_dtype(options.dtype);
  configure.set_kv_cache_dtype(options.kv_cache_dtype.empty() ? options.dtype
                                                              : options.kv_cache_dtype);
  configure.set_max_sequences(options.max_sequences);
  const int64_t context = options.max_context > 0 ? options.max_context : config_.max_context;
  configure.set_max_context(context);
  configure.set_max_batch_tokens(options.max_batch_tokens);
  configure.set_measure(options.measure);
  for (int r = 0; r < options.workers; ++r) {
    v1::WorkerShare& share = *configure.mutable_placement()->add_workers();
    share.set_worker_id(absl::StrCat("w", options.first_worker + r));
    std::vector<HeadStripe> lanes;
    for (int layer = 0; layer < config_.layers; ++layer) {
      for (int head = 0; head < config_.kv_heads; ++head) {
        for (const HeadStripe& stripe :
             StripesOf({layer, head}, plan_->policy(layer, head).full(), options, r)) {
          lanes.push_back(stripe);
          v1::HeadShare& wire = *share.add_heads();
          wire.set_layer(layer);
          wire.set_head(head);
          wire.set_stripe_index(stripe.index);
          wire.set_stripe_count(stripe.count);
        }
      }
      *share.add_mlp_columns() = Part(config_.intermediate_size, r, options.workers);
    }
    *share.mutable_vocab_rows() = Part(config_.vocab_size, r, options.workers);
    const std::vector<HeldLane> held = JoinStripes(std::move(lanes)).value();
    for (const LaneClass& lane_class : BuildLaneClasses(*plan_, held)) {
      const LaneRule rule = lane_class.rule(*plan_, context);
      share.add_class_pages(
          static_cast<uint32_t>(PagesReserved(rule, context) * options.max_sequences));
    }
  }
  return configure;
}

absl::StatusOr<v1::StepDone> LocalWorkers::Run(v1::Step step) {
  step.set_epoch(epoch_);
  step.set_step(++steps_);
  for (uint64_t id : ended_) step.add_ended(id);
  ended_.clear();
  Follow(step);
  std::vector<absl::StatusOr<v1::StepDone>> answers(epochs_.size());
  std::vector<std::thread> threads;
  for (size_t rank = 1; rank < epochs_.size(); ++rank) {
    threads.emplace_back([&, rank] {
      omp_set_num_threads(1);
      answers[rank] = epochs_[rank]->Run(step);
    });
  }
  omp_set_num_threads(epochs_.size() == 1 ? 2 : 1);
  answers[0] = epochs_[0]->Run(step);  // here: a new thread would cost a new OpenMP team each step
  for (std::thread& thread : threads) thread.join();
  cache_bytes_used_ = 0;
  for (const auto& answer : answers) {
    RETURN_IF_ERROR(answer.status());
    cache_bytes_used_ += static_cast<int64_t>(answer->cache_bytes_used());
  }
  return *answers[0];
}

absl::StatusOr<std::vector<float>> LocalWorkers::Feed(v1::Step step) {
  RETURN_IF_ERROR(Run(std::move(step)).status());
  const std::vector<float>& logits = epochs_[0]->logits();
  const auto size = std::min<int64_t>(std::ssize(logits), config_.vocab_size);
  return std::vector<float>(logits.begin(), logits.begin() + size);
}

absl::StatusOr<std::vector<float>> LocalWorkers::Prefill(uint64_t id,
                                                         const std::vector<uint32_t>& tokens,
                                                         int chunk, int prompt_tokens) {
  const int size = static_cast<int>(tokens.size());
  const int prompt = prompt_tokens > 0 ? prompt_tokens : size;
  v1::Step start;
  start.add_started()->set_sequence_id(id);
  start.mutable_started(0)->set_prompt_tokens(prompt);
  *start.mutable_started(0)->mutable_sampling() = sampling_;
  start.mutable_started(0)->mutable_sampling()->set_seed(id);
  RETURN_IF_ERROR(Run(start).status());
  int begin = 0;
  std::vector<float> logits;
  if (plan_->prefill() == PrefillMode::kExact && HasLocal(*plan_)) {
    ASSIGN_OR_RETURN(logits, PrefillExact(id, {tokens.begin(), tokens.begin() + prompt}, chunk));
    begin = prompt;
  }
  while (begin < size) {
    const int end = std::min(begin + chunk, size);
    ASSIGN_OR_RETURN(logits, Extend(id, begin, {tokens.begin() + begin, tokens.begin() + end}));
    begin = end;
  }
  return logits;
}

absl::StatusOr<std::vector<float>> LocalWorkers::PrefillExact(uint64_t id,
                                                              const std::vector<uint32_t>& prompt,
                                                              int chunk) {
  const int size = static_cast<int>(prompt.size());
  for (int layer = 0; layer < config_.layers; ++layer) {
    for (int begin = 0; begin < size; begin += chunk) {
      const int end = std::min(begin + chunk, size);
      v1::Step step;
      v1::BatchEntry& entry = *step.add_entries();
      entry.set_sequence_id(id);
      entry.set_position(begin);
      entry.mutable_tokens()->Add(prompt.begin() + begin, prompt.begin() + end);
      entry.set_layer_begin(layer);
      entry.set_layer_end(layer + 1);
      const bool last = layer + 1 == config_.layers && end == size;
      entry.set_sample(last);
      if (last) return Feed(step);
      RETURN_IF_ERROR(Run(step).status());
    }
  }
  return absl::InvalidArgumentError("empty prompt");
}

absl::StatusOr<std::vector<float>> LocalWorkers::Extend(uint64_t id, int position,
                                                        const std::vector<uint32_t>& tokens) {
  v1::Step step;
  v1::BatchEntry& entry = *step.add_entries();
  entry.set_sequence_id(id);
  entry.set_position(position);
  entry.mutable_tokens()->Add(tokens.begin(), tokens.end());
  entry.set_sample(true);
  return Feed(step);
}

absl::Status LocalWorkers::End(uint64_t id) {
  ended_.push_back(id);
  return Run(v1::Step()).status();
}

}  // namespace headlong
