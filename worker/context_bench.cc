#include "worker/context_bench.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "common/status.h"
#include "worker/epoch.h"
#include "worker/kernel_bench.h"
#include "worker/kernels/matmul_cpu.h"
#include "worker/open.h"
#include "worker/profile.h"
#include "worker/solo.h"

namespace headlong {
namespace {

constexpr int64_t kLongestContext = int64_t{1} << 30;
constexpr int64_t kFirstContext = 512;  // a search begins there
// Stays free on a GPU: graphs of decode steps, and what its allocator rounds up.
constexpr int64_t kSpareBytes = int64_t{256} << 20;
constexpr int64_t kSearchBytes = int64_t{64} << 20;  // a search gets that near
constexpr int kMostTries = 32;
constexpr uint64_t kEmpty = 1, kFilled = 2;  // sequences

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// REQUIRES: sorted, not empty.
double At(const std::vector<double>& sorted, double part) {
  return sorted[static_cast<size_t>(part * static_cast<double>(sorted.size() - 1))];
}

// Bytes that every token adds once all windows are full.
double BytesPerToken(const Plan& plan, const ModelConfig& config, int element_bytes) {
  int64_t bytes = 0;
  for (const LaneClass& lane_class : WholeClasses(plan)) {
    if (!plan.policies()[lane_class.policy].full()) continue;
    bytes += PageBytes(plan, lane_class, config.head_dim, element_bytes);
  }
  return static_cast<double>(bytes) / kFullPageTokens;
}

class ContextRun {
 public:
  ContextRun(const ContextBenchOptions& options, const ContextProgress& progress)
      : options_(options), progress_(progress) {}

  absl::Status Prepare();
  absl::StatusOr<ContextReport> Run();

 private:
  absl::Status Begin(int64_t context);
  absl::Status BeginLongest();
  int64_t Room() const;
  absl::Status CheckRoom() const;
  absl::Status Fill(int64_t tokens);
  absl::StatusOr<v1::StepDone> Step(v1::Step step);
  absl::Status Start(uint64_t id);
  absl::Status End(uint64_t id);
  // Of a sequence that has not begun and is over afterwards.
  absl::StatusOr<std::vector<double>> DecodeFromStart();
  // Milliseconds of each token, ascending.
  absl::StatusOr<std::vector<double>> Decode(uint64_t id, int64_t position);
  absl::Status Tell(double done, double total, const std::string& what) {
    return progress_(done, total, what) ? absl::OkStatus() : absl::CancelledError("interrupted");
  }

  const ContextBenchOptions& options_;
  const ContextProgress& progress_;
  ContextReport report_;
  ModelConfig config_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::unique_ptr<Plan> plan_;
  int element_bytes_ = 0;
  int64_t limit_bytes_ = 0;  // of all that is taken
  int64_t free_bytes_ = 0;   // of the GPU, before anything was taken
  int64_t context_ = 0;      // of the epoch
  NoPeers rendezvous_;
  std::atomic<uint64_t> counter_{0};
  std::unique_ptr<Device> device_;
  std::unique_ptr<Epoch> epoch_;
  uint64_t steps_ = 0;
  int64_t used_bytes_ = 0;  // by lanes, after the last step
};

absl::Status ContextRun::Prepare() {
  ASSIGN_OR_RETURN(const DeviceChoice choice, FindDevice(options_.device, options_.gpu));
  device_ = std::make_unique<Device>(choice);
  omp_set_num_threads(options_.threads > 0 ? options_.threads : omp_get_num_procs());
  ASSIGN_OR_RETURN(config_, LoadModelConfig(options_.model_dir));
  ASSIGN_OR_RETURN(checkpoint_, OpenCheckpoint(options_.model_dir, options_.load_format, config_));
  const PlanShape shape = PlanShapeOf(config_, checkpoint_->fingerprint());
  ASSIGN_OR_RETURN(Plan plan, Plan::Load(options_.plan, options_.model_dir, shape));
  for (const HeadPolicy& policy : plan.policies()) {
    if (!policy.rank.projected()) continue;
    return absl::UnimplementedError(absl::StrCat(
        "policy \"", policy.name, "\" has a rank: contexts are filled without projections"));
  }
  plan_ = std::make_unique<Plan>(std::move(plan));
  const bool fast_bf16 = choice.cuda() || cpu::HasNativeBfloat16();
  const std::string own = options_.dtype == "fp32" ? "fp32" : "bf16";
  report_.device = choice.name;
  report_.dtype = options_.dtype != "auto" ? options_.dtype : fast_bf16 ? "bf16" : "fp32";
  report_.kv_cache_dtype = options_.kv_cache_dtype != "auto" ? options_.kv_cache_dtype : own;
  ASSIGN_OR_RETURN(const Storage storage, PlainStorageFromName(report_.kv_cache_dtype));
  element_bytes_ = ElementBytes(storage);
  config_.max_context = kLongestContext;  // nobody reads what is computed
  RETURN_IF_ERROR(Tell(0, 0, "reading memory"));
  ASSIGN_OR_RETURN(report_.ceiling_bytes_per_s,
                   choice.cuda() ? ReadRateCuda(choice.gpu) : ReadRateCpu());
  free_bytes_ = choice.cuda() ? GpuMemoryNow(choice.gpu).free_bytes : AvailableMemory();
  limit_bytes_ = choice.cuda() ? free_bytes_ - kSpareBytes : DefaultMemoryLimit();
  if (options_.memory_limit_bytes > 0) {
    limit_bytes_ =
        std::min(options_.memory_limit_bytes, choice.cuda() ? limit_bytes_ : free_bytes_);
  }
  return absl::OkStatus();
}

absl::Status ContextRun::Begin(int64_t context) {
  epoch_.reset();
  v1::Configure configure =
      ConfigureSolo(config_, *plan_, {context, /*max_sequences=*/1, options_.max_batch_tokens});
  configure.set_dtype(report_.dtype);
  configure.set_kv_cache_dtype(report_.kv_cache_dtype);
  EpochResources resources;
  resources.config = &config_;
  resources.checkpoint = checkpoint_.get();
  resources.device = device_.get();
  resources.rendezvous = &rendezvous_;
  resources.progress = &counter_;
  const auto loading = [this](int64_t done, int64_t total) {
    progress_(static_cast<double>(done), static_cast<double>(total), "weights");
  };
  ASSIGN_OR_RETURN(epoch_, Epoch::Begin(configure, resources, loading));
  device_->backend().Wait();
  context_ = context;
  return Tell(0, 0, absl::StrCat("room for ", context, " tokens"));
}

// What is left of the limit. The memory of a CPU's caches is not there before it is written.
int64_t ContextRun::Room() const {
  const DeviceChoice& choice = device_->choice();
  if (choice.cuda()) return limit_bytes_ - (free_bytes_ - GpuMemoryNow(choice.gpu).free_bytes);
  return limit_bytes_ - device_->weights().bytes() -
         ReservedBytes(*plan_, config_, context_, element_bytes_);
}

absl::Status ContextRun::CheckRoom() const {
  const int64_t room = Room();
  if (room >= 0) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("weights, scratch and lanes of ", context_,
                                                   " tokens take ", limit_bytes_ - room,
                                                   " bytes, of which there are ", limit_bytes_));
}

// From what a short context leaves; less where that turns out to be too much, since scratch and
// lists grow, too.
absl::Status ContextRun::BeginLongest() {
  const int64_t first = std::max<int64_t>(kFirstContext, 2 * options_.decode);
  RETURN_IF_ERROR(Begin(first));
  RETURN_IF_ERROR(DecodeFromStart().status());  // libraries take what they want
  RETURN_IF_ERROR(CheckRoom());
  const int64_t room = Room(), step = std::min(kSearchBytes, room / kMostTries);
  absl::Status last;
  for (int i = 0; i < kMostTries; ++i) {
    const int64_t context = LongestContext(*plan_, config_, first, element_bytes_, room - i * step);
    if (context == kLongestContext) {
      return absl::InvalidArgumentError(
          "no context is too long for these caches: say how many tokens are to be filled");
    }
    last = Begin(context);
    if (last.ok()) last = CheckRoom();
    if (!absl::IsResourceExhausted(last)) return last;
  }
  return last;
}

absl::StatusOr<v1::StepDone> ContextRun::Step(v1::Step step) {
  step.set_epoch(epoch_->number());
  step.set_step(++steps_);
  ASSIGN_OR_RETURN(v1::StepDone done, epoch_->Run(step));
  used_bytes_ = static_cast<int64_t>(done.cache_bytes_used());
  return done;
}

absl::Status ContextRun::Start(uint64_t id) {
  v1::Step step;
  step.add_started()->set_sequence_id(id);
  return Step(std::move(step)).status();
}

absl::Status ContextRun::End(uint64_t id) {
  v1::Step step;
  step.add_ended(id);
  return Step(std::move(step)).status();
}

absl::StatusOr<std::vector<double>> ContextRun::Decode(uint64_t id, int64_t position) {
  std::vector<double> milliseconds;
  uint32_t token = 1;
  for (int i = 0; i < options_.decode; ++i) {
    RETURN_IF_ERROR(Tell(i, options_.decode, absl::StrCat("decoding at ", position, " tokens")));
    v1::Step step;
    v1::BatchEntry& entry = *step.add_entries();
    entry.set_sequence_id(id);
    entry.set_position(static_cast<uint32_t>(position + i));
    entry.add_tokens(token);
    entry.set_sample(true);
    const Clock::time_point begin = Clock::now();
    ASSIGN_OR_RETURN(const v1::StepDone done, Step(std::move(step)));
    milliseconds.push_back(1e3 * SecondsSince(begin));
    token = done.samples(0).token_id();
  }
  std::ranges::sort(milliseconds);
  return milliseconds;
}

absl::StatusOr<std::vector<double>> ContextRun::DecodeFromStart() {
  RETURN_IF_ERROR(Start(kEmpty));
  ASSIGN_OR_RETURN(std::vector<double> milliseconds, Decode(kEmpty, 0));
  RETURN_IF_ERROR(End(kEmpty));
  return milliseconds;
}

absl::Status ContextRun::Fill(int64_t tokens) {
  RETURN_IF_ERROR(Start(kFilled));
  const Clock::time_point begin = Clock::now();
  for (int64_t position = 0; position < tokens;) {
    RETURN_IF_ERROR(Tell(static_cast<double>(position), static_cast<double>(tokens), "filling"));
    const auto count =
        static_cast<int>(std::min<int64_t>(options_.max_batch_tokens, tokens - position));
    RETURN_IF_ERROR(epoch_->Fill(kFilled, position, count, options_.seed));
    position += count;
  }
  device_->backend().Wait();
  report_.fill_s = SecondsSince(begin);
  return absl::OkStatus();
}

absl::StatusOr<ContextReport> ContextRun::Run() {
  if (options_.tokens > 0) {
    RETURN_IF_ERROR(Begin(options_.tokens + options_.decode));
    RETURN_IF_ERROR(CheckRoom());
  } else {
    RETURN_IF_ERROR(BeginLongest());
  }
  ASSIGN_OR_RETURN(const std::vector<double> empty, DecodeFromStart());
  report_.tokens = context_;
  report_.decoded = options_.decode;
  RETURN_IF_ERROR(Fill(context_ - options_.decode));
  ASSIGN_OR_RETURN(const std::vector<double> full, Decode(kFilled, context_ - options_.decode));
  const DeviceChoice& choice = device_->choice();
  const Weights& weights = device_->weights();
  report_.weights_bytes = weights.bytes();
  report_.cache_bytes = ReservedBytes(*plan_, config_, context_, element_bytes_);
  report_.cache_bytes_used = used_bytes_;
  report_.cache_bytes_per_token = BytesPerToken(*plan_, config_, element_bytes_);
  if (choice.cuda()) report_.memory_bytes = GpuMemoryNow(choice.gpu).total_bytes;
  if (choice.cuda()) report_.memory_free_bytes = GpuMemoryNow(choice.gpu).free_bytes;
  report_.decode_ms = At(full, 0.5);
  report_.decode_low_ms = At(full, 0.1);
  report_.decode_high_ms = At(full, 0.9);
  report_.empty_ms = At(empty, 0.5);
  report_.read_bytes =
      static_cast<double>(weights.bytes() - weights.embedding().bytes() + used_bytes_);
  return report_;
}

}  // namespace

int64_t ReservedBytes(const Plan& plan, const ModelConfig& config, int64_t context,
                      int element_bytes) {
  int64_t bytes = 0;
  for (const LaneClass& lane_class : WholeClasses(plan)) {
    const int64_t pages = PagesReserved(lane_class.rule(plan, context), context);
    bytes += pages * PageBytes(plan, lane_class, config.head_dim, element_bytes) +
             SlotBytes(plan, lane_class, config.head_dim, element_bytes);
  }
  return bytes;
}

int64_t LongestContext(const Plan& plan, const ModelConfig& config, int64_t context,
                       int element_bytes, int64_t room) {
  const int64_t most = ReservedBytes(plan, config, context, element_bytes) + room;
  int64_t fits = context, too_long = kLongestContext + 1;
  while (too_long - fits > 1) {
    const int64_t middle = fits + (too_long - fits) / 2;
    (ReservedBytes(plan, config, middle, element_bytes) <= most ? fits : too_long) = middle;
  }
  return fits;
}

absl::StatusOr<ContextReport> BenchContext(const ContextBenchOptions& options,
                                           const ContextProgress& progress) {
  if (options.tokens > kLongestContext - options.decode) {
    return absl::InvalidArgumentError(
        absl::StrCat("--tokens: at most ", kLongestContext - options.decode));
  }
  ContextRun run(options, progress);
  RETURN_IF_ERROR(run.Prepare());
  return run.Run();
}

}  // namespace headlong
