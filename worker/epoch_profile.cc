// What steps cost in an epoch that has just begun: dry steps, which all workers compute together,
// at the begin of a context and far into one. What the second ones take longer is their reading of
// caches; what the first ones take beside the products of weights is there in every step.
#include <algorithm>
#include <chrono>

#include "cache/lane_class.h"
#include "common/status.h"
#include "worker/epoch.h"

namespace headlong {

struct Epoch::DrySteps {
  double compute_s = 0;
  double collective_s = 0;
  int64_t cache_bytes = 0;  // held, as the coordinator counts them
  int steps = 0;
};

namespace {

constexpr uint64_t kDrySequence = uint64_t{1} << 63;  // no sequence of a coordinator has this id
constexpr int64_t kFarTokens = 8192;                  // caches beyond what processors keep
constexpr int kMostSteps = 15;
constexpr double kBudgetS = 0.1;  // for steps of one kind; two are taken in any case
// Where caches hold less, what they cost is lost in what varies from step to step.
constexpr int64_t kLeastCacheBytes = int64_t{256} << 10;

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Of times that others may have made longer: a quarter of them are less.
double QuartileOf(std::vector<double>& values) {
  const auto quarter = values.begin() + static_cast<int64_t>(values.size()) / 4;
  std::nth_element(values.begin(), quarter, values.end());
  return *quarter;
}

// Numbers that products of one row read.
double WeightsOf(const Share& share, const ModelConfig& config) {
  const int64_t hidden = config.hidden_size;
  int64_t count = share.vocab_rows.size() * hidden;
  for (int layer = 0; layer < config.layers; ++layer) {
    const auto heads = static_cast<int64_t>(share.heads[layer].size());
    count += heads * (2 * config.group() + 2) * config.head_dim * hidden;
    count += int64_t{share.mlp_columns[layer].size()} * config.mlp_matrices() * hidden;
  }
  return static_cast<double>(count);
}

// Sums of a step.
int SumsOf(const Share& share, const ModelConfig& config) {
  int sums = 1 + 2 * config.layers;
  for (int layer = 0; layer < config.layers; ++layer) sums += share.split(layer) ? 1 : 0;
  return sums;
}

}  // namespace

// So that pages are memory, and what is read of them numbers.
void Epoch::FillPages(uint64_t sequence_id) {
  const SequenceTables& tables = tables_->tables(sequence_id);
  for (size_t index = 0; index < tables_->classes().size(); ++index) {
    const LaneClass& lane_class = tables_->classes()[index];
    const BlockTable& table = tables.before[index];
    std::vector<int32_t> pages(table.sink_pages().begin(), table.sink_pages().end());
    pages.insert(pages.end(), table.window_pages().begin(), table.window_pages().end());
    const auto lanes = static_cast<int64_t>(lane_class.lanes.size());
    const int64_t page_bytes =
        PageBytes(*plan_, lane_class, resources_.config->head_dim, ElementBytes(storage_)) / lanes;
    std::vector<std::byte> zeros(pages.size() * page_bytes);
    LaneCopy copy;
    copy.pages = pages;
    copy.host_pages = zeros.data();
    copy.slot = tables.slot;
    for (int lane = 0; lane < lanes; ++lane) {
      copy.place = {static_cast<int>(index), lane};
      resources_.device->backend().CopyLane(copy, CopyWay::kFromHost);
    }
    resources_.device->backend().Wait();  // `zeros` is read until then
  }
}

absl::StatusOr<Epoch::DrySteps> Epoch::RunDrySteps(int64_t length) {
  v1::SamplingParams greedy;
  RETURN_IF_ERROR(Start(kDrySequence, /*prompt_tokens=*/0, greedy));
  if (length > 0) {
    Chunk chunk;  // as if it had been computed
    chunk.sequence_id = kDrySequence;
    chunk.count = static_cast<int>(length);
    RETURN_IF_ERROR(tables_->Advance(chunk, 0));
    tables_->Commit(kDrySequence);
    FillPages(kDrySequence);
  }
  const auto left = static_cast<int>(std::min<int64_t>(max_context_ - length, kMostSteps));
  std::vector<double> compute, collective;
  DrySteps dry;
  dry.steps = std::min(2, left);
  for (int i = 0; i < dry.steps; ++i) {
    v1::Step step;
    v1::BatchEntry& entry = *step.add_entries();
    entry.set_sequence_id(kDrySequence);
    entry.set_position(static_cast<uint32_t>(length + i));
    entry.add_tokens(0);
    entry.set_sample(true);
    const Clock::time_point begin = Clock::now();
    ASSIGN_OR_RETURN(const v1::StepDone done, Run(step));
    if (i == 0) {  // the first one warms up, and tells all workers how many are to follow
      ASSIGN_OR_RETURN(const float seconds,
                       forward_->Total(static_cast<float>(SecondsSince(begin))));
      dry.steps = std::clamp(static_cast<int>(kBudgetS * share_.world / seconds), dry.steps, left);
      if (dry.steps > 1) continue;
    }
    compute.push_back(done.compute_ms() / 1e3);
    collective.push_back(done.collective_ms() / 1e3);
  }
  dry.cache_bytes = tables_->UsedBytes(resources_.config->head_dim, ElementBytes(storage_));
  dry.compute_s = QuartileOf(compute);
  dry.collective_s = QuartileOf(collective);
  sequences_.erase(kDrySequence);
  RETURN_IF_ERROR(tables_->End(kDrySequence));
  return dry;
}

absl::Status Epoch::MeasureSteps() {
  const ModelConfig& config = *resources_.config;
  ASSIGN_OR_RETURN(const DrySteps near, RunDrySteps(0));
  const int64_t far_tokens = std::min(kFarTokens, max_context_ - kMostSteps);
  DrySteps far = near;
  if (far_tokens > 0) {
    ASSIGN_OR_RETURN(far, RunDrySteps(far_tokens));
  }
  std::vector<double> products;
  for (int i = 0; i < near.steps; ++i) {
    RETURN_IF_ERROR(forward_->Total(0).status());  // all begin together
    const Clock::time_point begin = Clock::now();
    forward_->MultiplyWeights();
    products.push_back(SecondsSince(begin));
  }
  const double product_s = QuartileOf(products);
  v1::SharedProfile& shared = shared_.emplace();
  shared.set_weights_per_s(WeightsOf(share_, config) / product_s);
  shared.set_layer_s(std::max(0.0, near.compute_s - product_s) / config.layers);
  if (share_.world > 1) shared.set_sum_s(near.collective_s / SumsOf(share_, config));
  const int64_t bytes = far.cache_bytes - near.cache_bytes;
  const double seconds = far.compute_s - near.compute_s;
  if (bytes >= kLeastCacheBytes && seconds > 0) {
    shared.set_read_bytes_per_s(static_cast<double>(bytes) / seconds);
  }
  return absl::OkStatus();
}

}  // namespace headlong
