#include "coordinator/placement_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "cache/lane_class.h"
#include "coordinator/placement_shares.h"

namespace headlong {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr int kAlignedColumns = 8;       // 16 bytes of bf16: what matrix products want
constexpr int kUnitsPerWorker = 64;      // so that whole units cost at most a part in so many
constexpr double kStatePerHead = 2 * 4;  // maximum and sum of a partial softmax, fp32

// Sequences of max_context that the memory of all workers together would hold.
double PooledSequences(const PlacementProblem& problem, int64_t room, int64_t fixed,
                       int64_t per_sequence) {
  if (per_sequence == 0) return problem.max_sequences;
  return std::clamp(static_cast<double>(room - fixed) / static_cast<double>(per_sequence), 1.0,
                    static_cast<double>(std::max(problem.max_sequences, 1)));
}

}  // namespace

double FillLevel(double work, std::span<const double> speeds, std::span<const int64_t> caps) {
  if (work <= 0) return 0;
  std::vector<std::pair<double, size_t>> full_at;  // when worker i reaches its cap
  double open = 0;
  for (size_t i = 0; i < speeds.size(); ++i) {
    if (caps[i] <= 0) continue;
    full_at.push_back({static_cast<double>(caps[i]) / speeds[i], i});
    open += speeds[i];
  }
  std::sort(full_at.begin(), full_at.end());
  double left = work;
  for (const auto& [time, i] : full_at) {
    if (left <= open * time * (1 + 1e-12)) return left / open;
    left -= static_cast<double>(caps[i]);
    open -= speeds[i];
  }
  return kInfinite;
}

PlacementModel::PlacementModel(const PlacementProblem& problem, double sequences)
    : problem_(&problem), sequences_(sequences) {
  const ModelConfig& config = *problem.config;
  const int64_t everywhere =
      NormBytes(problem) +
      ScratchBytes(problem, config.kv_heads, config.intermediate_size, config.vocab_size);
  for (const PlacementWorker& worker : problem.workers) {
    room_.push_back(worker.memory_bytes - everywhere);
  }
  const auto workers = static_cast<int64_t>(problem.workers.size());
  if (config.intermediate_size % kAlignedColumns == 0 &&
      config.intermediate_size / kAlignedColumns >= workers * kUnitsPerWorker) {
    column_unit_ = kAlignedColumns;
  }
  const int64_t unit = ColumnWeightBytes(problem) * column_unit_;
  columns_ = {int64_t{config.layers} * config.intermediate_size / column_unit_, unit, unit};
  rows_ = {config.vocab_size, VocabRowBytes(problem),
           int64_t{config.hidden_size} * problem.weight_element_bytes};
  FillKinds();
  FillRates();
}

void PlacementModel::FillKinds() {
  const PlacementProblem& problem = *problem_;
  const ModelConfig& config = *problem.config;
  std::map<int, int> kind_of;  // by policy
  for (int layer = 0; layer < config.layers; ++layer) {
    for (int head = 0; head < config.kv_heads; ++head) {
      kind_of.try_emplace(problem.plan->policy_index(layer, head), 0);
    }
  }
  int64_t fixed = FluidBytes();
  int64_t per_sequence = 0;
  for (auto& [policy, kind] : kind_of) {
    kind = static_cast<int>(kinds_.size());
    HeadKind made;
    made.policy = policy;
    made.full = problem.plan->policies()[policy].full();
    made.weight_bytes = HeadWeightBytes(problem, policy);
    kinds_.push_back(made);
  }
  heads_.assign(config.layers, std::vector<int>(kinds_.size(), 0));
  for (int layer = 0; layer < config.layers; ++layer) {
    for (int head = 0; head < config.kv_heads; ++head) {
      const int kind = kind_of.at(problem.plan->policy_index(layer, head));
      ++heads_[layer][kind];
      fixed += kinds_[kind].weight_bytes;
      if (kinds_[kind].full) {
        // What is beside the pages is there for every sequence, however many run.
        const int64_t slots = LaneSlotsBytes(problem, kinds_[kind].policy);
        per_sequence +=
            LaneReservedBytes(problem, kinds_[kind].policy, 1) - slots / problem.max_sequences;
        fixed += slots;
      } else {
        fixed += LaneReservedBytes(problem, kinds_[kind].policy, problem.max_sequences);
      }
    }
  }
  const int64_t room = std::accumulate(room_.begin(), room_.end(), int64_t{0});
  const Workload& workload = problem.workload;
  concurrency_ = workload.concurrency > 0 ? workload.concurrency
                                          : PooledSequences(problem, room, fixed, per_sequence);
  for (HeadKind& kind : kinds_) {
    kind.reserved_bytes =
        kind.full ? PartBytes(static_cast<int>(&kind - kinds_.data()), {}) - kind.weight_bytes
                  : LaneReservedBytes(problem, kind.policy, problem.max_sequences);
    kind.read_bytes = concurrency_ * static_cast<double>(LaneReadBytes(problem, kind.policy));
  }
}

void PlacementModel::FillRates() {
  const PlacementProblem& problem = *problem_;
  const ModelConfig& config = *problem.config;
  std::vector<double> read, weight, flops;
  for (const PlacementWorker& worker : problem.workers) {
    read.push_back(std::max(worker.read_bytes_per_s, 1.0));
    weight.push_back(worker.weight_bytes_per_s > 0 ? worker.weight_bytes_per_s : read.back());
    flops.push_back(worker.matmul_flops > 0 ? worker.matmul_flops : 1e30);
  }
  if (problem.level_speeds) {
    read = Levelled(read);
    weight = Levelled(weight);
    flops = Levelled(flops);
  }
  const double prompt_rows = problem.workload.prefill_share * problem.max_batch_tokens;
  const double rows = concurrency_ + prompt_rows;
  const int64_t context =
      problem.workload.context > 0 ? problem.workload.context : problem.max_context;
  chunk_s_.assign(kinds_.size(), std::vector<double>(read.size(), 0));
  double total_read =
      static_cast<double>(columns_.units * columns_.unit_read + rows_.units * rows_.unit_read);
  double total_cache = 0;
  for (int layer = 0; layer < layers(); ++layer) {
    for (size_t kind = 0; kind < kinds_.size(); ++kind) {
      total_read += static_cast<double>(heads_[layer][kind] * kinds_[kind].weight_bytes);
      total_cache += heads_[layer][kind] * kinds_[kind].read_bytes;
    }
  }
  const double total_bytes = static_cast<double>(TotalBytes());
  for (size_t i = 0; i < read.size(); ++i) {
    // A product of few rows is bound by its weights, one of many by its multiplications.
    weight_s_.push_back(
        std::max(1 / weight[i], 2 * rows / (problem.weight_element_bytes * flops[i])));
    cache_s_.push_back(1 / read[i]);
    for (size_t kind = 0; kind < kinds_.size(); ++kind) {
      const LaneRule rule = problem.plan->rule(kinds_[kind].policy, context);
      const double keys = rule.full ? static_cast<double>(context) / 2
                                    : static_cast<double>(rule.sinks + rule.window);
      chunk_s_[kind][i] = 4.0 * prompt_rows * config.group() * config.head_dim * keys / flops[i];
    }
    speeds_.push_back(total_bytes / (total_read * weight_s_[i] + total_cache * cache_s_[i]));
  }
}

int64_t PlacementModel::PagesFor(int policy, const StripeRange& stripes) const {
  LaneRule rule = problem_->plan->rule(policy, problem_->max_context);
  rule.stripes = stripes;
  const auto one = static_cast<double>(PagesReserved(rule, problem_->max_context));
  return static_cast<int64_t>(std::floor(one * sequences_ + 1e-9));
}

int64_t PlacementModel::PartBytes(int kind, const StripeRange& stripes) const {
  const HeadKind& of = kinds_[kind];
  if (!of.full) return of.bytes();
  const LaneRule rule = problem_->plan->rule(of.policy, problem_->max_context);
  const int head_dim = problem_->config->head_dim, element_bytes = problem_->cache_element_bytes;
  return of.weight_bytes +
         PagesFor(of.policy, stripes) * LanePageBytes(rule, head_dim, element_bytes) +
         LaneSlotsBytes(*problem_, of.policy);
}

double PlacementModel::WeightSeconds(int worker, int kind) const {
  return static_cast<double>(kinds_[kind].weight_bytes) * weight_s_[worker];
}

double PlacementModel::LaneSeconds(int worker, int kind) const {
  return kinds_[kind].read_bytes * cache_s_[worker] + chunk_s_[kind][worker];
}

double PlacementModel::PartSeconds(int worker, int kind, const StripeRange& stripes) const {
  double share = 1;
  if (!stripes.whole()) {
    const Workload& workload = problem_->workload;
    const int64_t context = workload.context > 0 ? workload.context : problem_->max_context;
    const int64_t pages = (context + kFullPageTokens - 1) / kFullPageTokens;
    share = static_cast<double>(stripes.Owned(pages)) / static_cast<double>(pages);
  }
  return WeightSeconds(worker, kind) + share * LaneSeconds(worker, kind);
}

double PlacementModel::FluidSeconds(int worker, double read_bytes) const {
  return read_bytes * weight_s_[worker];
}

double PlacementModel::LayerSeconds(const LayerParts& parts) const {
  std::map<int, double> by_worker;
  int split = 0;
  double slowest = 0;
  for (const HeadPart& part : parts) {
    double& seconds = by_worker[part.worker];
    seconds += PartSeconds(part.worker, part.kind, part.stripes);
    slowest = std::max(slowest, seconds);
    split += !part.stripes.whole() && part.stripes.begin == 0;
  }
  return slowest + ExchangeSeconds(split);
}

double PlacementModel::SumSeconds(double bytes) const {
  const PlacementLink& link = problem_->link;
  if (workers() < 2) return 0;
  return link.sum_latency_s + (link.bytes_per_s > 0 ? bytes / link.bytes_per_s : 0);
}

// Each owner tells the maximum and sum of its part, for every query head of the split heads.
double PlacementModel::ExchangeSeconds(int split_heads) const {
  if (split_heads == 0) return 0;
  const double rows = concurrency_ + problem_->workload.prefill_share * problem_->max_batch_tokens;
  return SumSeconds(rows * split_heads * problem_->config->group() * kStatePerHead * workers());
}

// One of the embedding, two per layer.
double PlacementModel::SumsSeconds() const {
  const double rows = concurrency_ + problem_->workload.prefill_share * problem_->max_batch_tokens;
  return (2.0 * layers() + 1) * SumSeconds(rows * problem_->config->hidden_size * 4);
}

double PlacementModel::FixedSeconds() const {
  double slowest = 0;
  for (const PlacementWorker& worker : problem_->workers) {
    slowest = std::max(slowest, worker.layer_s);
  }
  return layers() * slowest + problem_->link.step_s;
}

double PlacementModel::FluidStepSeconds(std::span<const int64_t> left) const {
  std::vector<double> speeds;
  for (double seconds : weight_s_) speeds.push_back(1 / seconds);
  const double bytes = static_cast<double>(FluidBytes());
  const double level = FillLevel(bytes, speeds, left);
  const auto read =
      static_cast<double>(columns_.units * columns_.unit_read + rows_.units * rows_.unit_read);
  return level * read / bytes;
}

int64_t PlacementModel::LayerBytes(int layer) const {
  int64_t bytes = 0;
  for (size_t kind = 0; kind < kinds_.size(); ++kind) {
    bytes += heads_[layer][kind] * kinds_[kind].bytes();
  }
  return bytes;
}

int64_t PlacementModel::TotalBytes() const {
  int64_t bytes = FluidBytes();
  for (int layer = 0; layer < layers(); ++layer) bytes += LayerBytes(layer);
  return bytes;
}

}  // namespace headlong
