#include "worker/forward.h"

#include <algorithm>
#include <chrono>

#include "common/status.h"
#include "worker/probe.h"

namespace headlong {

Forward::Forward(const ForwardOptions& options, Weights& weights, Backend& backend,
                 Collective& collective)
    : options_(options), weights_(weights), backend_(backend), collective_(collective) {}

absl::StatusOr<std::unique_ptr<Forward>> Forward::Create(const ForwardOptions& options,
                                                         Weights& weights, Backend& backend,
                                                         Collective& collective) {
  std::unique_ptr<Forward> forward(new Forward(options, weights, backend, collective));
  RETURN_IF_ERROR(forward->TakeMemory());
  return forward;
}

absl::Status Forward::TakeMemory() {
  const ModelConfig& config = *options_.config;
  const Share& share = *options_.share;
  int heads = 0;
  int columns = 0;
  int parts = 0;
  for (int layer = 0; layer < config.layers; ++layer) {
    heads = std::max(heads, static_cast<int>(share.heads[layer].size()));
    columns = std::max(columns, share.mlp_columns[layer].size());
    parts = std::max(parts, share.stripes[layer].parts);
  }
  const int q = config.group() * config.head_dim;
  const int rows = options_.max_rows;
  const auto take = [&](Activations& out, int width) -> absl::Status {
    ASSIGN_OR_RETURN(out, backend_.NewActivations(rows, width));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(take(x_, config.hidden_size));
  RETURN_IF_ERROR(take(normed_, config.hidden_size));
  RETURN_IF_ERROR(take(qkv_, heads * (q + 2 * config.head_dim)));
  RETURN_IF_ERROR(take(heads_, heads * q));
  RETURN_IF_ERROR(take(parts_, parts * config.group()));
  RETURN_IF_ERROR(take(y_, config.hidden_size));
  RETURN_IF_ERROR(take(up_, (config.mlp_matrices() - 1) * columns));
  RETURN_IF_ERROR(take(mlp_, columns));
  ASSIGN_OR_RETURN(last_, backend_.NewActivations(options_.max_samples, config.hidden_size));
  ASSIGN_OR_RETURN(logits_, backend_.NewActivations(options_.max_samples, share.vocab_rows.size()));
  ASSIGN_OR_RETURN(best_, backend_.NewActivations(options_.max_samples, 2));
  ASSIGN_OR_RETURN(drawn_, backend_.NewActivations(options_.max_samples, 1));
  for (const IndexRange& range : share.vocab_by_rank) vocab_columns_.push_back(range.size());
  best_columns_.assign(vocab_columns_.size(), 2);
  const int64_t gathered = std::max<int64_t>(config.vocab_size, 2 * std::ssize(best_columns_));
  return collective_.PrepareGather(options_.max_samples * gathered);
}

absl::StatusOr<SumProfile> Forward::MeasureSums() {
  return headlong::MeasureSums(collective_, x_,
                               int64_t{options_.max_rows} * options_.config->hidden_size);
}

void Forward::MultiplyWeights() {
  for (int layer = 0; layer < options_.config->layers; ++layer) {
    LayerWeights& weights = weights_.layer(layer);
    backend_.MatMul(*weights.qkv, normed_, 1, qkv_);
    backend_.MatMul(*weights.out, heads_, 1, y_);
    backend_.MatMul(*weights.up, normed_, 1, up_);
    backend_.MatMul(*weights.down, mlp_, 1, y_);
    options_.progress->fetch_add(1, std::memory_order_relaxed);
  }
  backend_.MatMul(weights_.output(), last_, 1, logits_);
  backend_.Wait();
}

absl::StatusOr<float> Forward::Total(float number) {
  backend_.WriteFloats(&number, 1, x_);
  RETURN_IF_ERROR(collective_.Sum(x_, 1));
  RETURN_IF_ERROR(collective_.Wait());
  backend_.ReadFloats(x_, 1, &number);
  return number;
}

bool Forward::DrawsTokens() const {
  return collective_.Gathered(logits_).data != nullptr &&
         backend_.CanSample(options_.config->vocab_size, static_cast<int>(vocab_columns_.size()));
}

absl::Status Forward::Run(const Batch& batch, const LaneTables& tables, Sampled& sampled) {
  const BatchCalls calls = backend_.BeginBatch(batch, tables, Recordable(batch));
  if (!calls.replayed) RETURN_IF_ERROR(Compute(batch, calls));
  options_.progress->fetch_add(1, std::memory_order_relaxed);
  if (Samples(batch)) RETURN_IF_ERROR(Read(batch, calls.samples, sampled));
  RETURN_IF_ERROR(collective_.Wait());
  backend_.Wait();
  return absl::OkStatus();
}

void Forward::Fill(const Batch& batch, const LaneTables& tables, uint64_t seed) {
  const ModelConfig& config = *options_.config;
  backend_.BeginBatch(batch, tables, /*recordable=*/false);
  for (int layer = 0; layer < config.layers; ++layer) {
    const auto heads = static_cast<int>(options_.share->heads[layer].size());
    const int columns = heads * (config.group() + 2) * config.head_dim;
    const DummyNumbers numbers{seed + (static_cast<uint64_t>(layer) << 32), /*scale=*/1, 0};
    backend_.Fill(numbers, batch.chunks.front().position, batch.rows(), columns, qkv_);
    backend_.Attend(layer, qkv_, /*out=*/{});
    options_.progress->fetch_add(1, std::memory_order_relaxed);
  }
  backend_.EndBatch();
}

// Below 2^24 whole numbers are exact in fp32: the sum with everybody else's zeros is the token.
absl::Status Forward::ShareTokens(std::vector<uint32_t>& tokens) {
  std::vector<float> numbers(tokens.size());
  if (options_.share->leader()) std::copy(tokens.begin(), tokens.end(), numbers.begin());
  const auto count = std::ssize(numbers);
  backend_.WriteFloats(numbers.data(), count, drawn_);
  RETURN_IF_ERROR(Sum(drawn_, count));
  RETURN_IF_ERROR(collective_.Wait());
  backend_.ReadFloats(drawn_, count, numbers.data());
  tokens.assign(numbers.begin(), numbers.end());
  return absl::OkStatus();
}

// A decode step: one new token of each sequence through all layers.
bool Forward::Recordable(const Batch& batch) const {
  return collective_.recordable() && batch.layer_begin == 0 && Samples(batch) &&
         std::all_of(batch.chunks.begin(), batch.chunks.end(), [](const Chunk& chunk) {
           return chunk.count == 1 && !chunk.exact && !chunk.measured();
         });
}

bool Forward::Samples(const Batch& batch) const {
  return batch.layer_end == options_.config->layers &&
         std::any_of(batch.chunks.begin(), batch.chunks.end(),
                     [](const Chunk& chunk) { return chunk.sample || !chunk.probed.empty(); });
}

absl::Status Forward::Compute(const Batch& batch, const BatchCalls& calls) {
  measures_similarity_ =
      options_.share->leader() && std::any_of(batch.chunks.begin(), batch.chunks.end(),
                                              [](const Chunk& chunk) { return chunk.similarity; });
  similarities_.clear();
  RETURN_IF_ERROR(Enter(batch, calls.rows));
  for (int layer = batch.layer_begin; layer < batch.layer_end; ++layer) {
    RETURN_IF_ERROR(RunLayer(layer, layer == batch.layer_begin, calls.rows));
    options_.progress->fetch_add(1, std::memory_order_relaxed);
  }
  backend_.Add(x_, y_, calls.rows, options_.config->hidden_size);
  RETURN_IF_ERROR(Leave(batch, calls.samples));
  backend_.EndBatch();
  return absl::OkStatus();
}

// The residual stream at the first layer: embeddings, or what the layer before left.
absl::Status Forward::Enter(const Batch& batch, int rows) {
  if (batch.layer_begin > 0) {
    for (const Chunk& chunk : batch.chunks) backend_.LoadHidden(chunk, x_);
    return absl::OkStatus();
  }
  backend_.Embed(weights_.embedding(), options_.share->vocab_rows.begin, x_);
  return Sum(x_, int64_t{rows} * options_.config->hidden_size);
}

// The residual stream gets what the layer before made (the first one's is whole), and y_ holds
// what this one made.
absl::Status Forward::RunLayer(int layer, bool first, int rows) {
  const ModelConfig& config = *options_.config;
  const int hidden = config.hidden_size;
  const int columns = options_.share->mlp_columns[layer].size();
  LayerWeights& weights = weights_.layer(layer);

  if (first) {
    Norm(x_, *weights.attention_norm, rows, normed_);
  } else {
    AddNorm(x_, y_, *weights.attention_norm, rows, normed_);
  }
  backend_.MatMul(*weights.qkv, normed_, rows, qkv_);
  if (config.qkv_bias) backend_.AddBias(qkv_, *weights.qkv_bias, rows);
  if (config.qk_norm) {
    backend_.NormHeads(layer, qkv_, *weights.q_norm, *weights.k_norm,
                       static_cast<float>(config.norm_eps));
  }
  backend_.Attend(layer, qkv_, heads_);
  if (options_.share->split(layer)) RETURN_IF_ERROR(CombineStripes(layer, rows));
  backend_.MatMul(*weights.out, heads_, rows, y_);
  RETURN_IF_ERROR(Sum(y_, int64_t{rows} * hidden));
  if (measures_similarity_) MeasureSimilarity(rows);

  AddNorm(x_, y_, *weights.mlp_norm, rows, normed_);
  if (config.mlp == MlpType::kGatedSilu) {
    backend_.MatMulSiluMul(*weights.up, normed_, rows, up_, columns, mlp_);
  } else {
    backend_.MatMul(*weights.up, normed_, rows, up_);
    backend_.Gelu(up_, rows, columns, mlp_);
  }
  backend_.MatMul(*weights.down, mlp_, rows, y_);
  return Sum(y_, int64_t{rows} * hidden);
}

// out = the model's norm of x.
void Forward::Norm(Activations x, const DeviceVector& weight, int rows, Activations out) {
  if (options_.config->norm == NormType::kLayer) {
    backend_.Center(x, rows, options_.config->hidden_size, out);
    x = out;
  }
  backend_.RmsNorm(x, weight, static_cast<float>(options_.config->norm_eps), rows, out);
}

// x += y, then out = the model's norm of x.
void Forward::AddNorm(Activations x, Activations y, const DeviceVector& weight, int rows,
                      Activations out) {
  const ModelConfig& config = *options_.config;
  if (config.norm == NormType::kRms) {
    backend_.AddRmsNorm(x, y, weight, static_cast<float>(config.norm_eps), rows, out);
    return;
  }
  backend_.Add(x, y, rows, config.hidden_size);
  Norm(x, weight, rows, out);
}

// x_ is the residual stream, y_ what attention adds to it.
void Forward::MeasureSimilarity(int rows) {
  const int hidden = options_.config->hidden_size;
  std::vector<float> before(static_cast<size_t>(rows) * hidden), added(before.size());
  backend_.ReadFloats(x_, std::ssize(before), before.data());
  backend_.ReadFloats(y_, std::ssize(added), added.data());
  similarities_.push_back(SumOfCosines(before, added, rows));
}

// Owners of a split head's stripes have each attended to their own keys. They exchange the
// log-sum-exps, all workers taking part, and scale their outputs so that the sum after the output
// projection makes the head whole.
absl::Status Forward::CombineStripes(int layer, int rows) {
  backend_.WriteLogSums(layer, rows, parts_);
  const int64_t parts = options_.share->stripes[layer].parts;
  RETURN_IF_ERROR(Sum(parts_, parts * rows * options_.config->group()));
  backend_.ScaleStripes(layer, rows, parts_, heads_);
  return absl::OkStatus();
}

// After the last layer: logits of the sampled rows. Before it: the residual stream is kept.
absl::Status Forward::Leave(const Batch& batch, int samples) {
  const ModelConfig& config = *options_.config;
  if (batch.layer_end < config.layers) {
    for (const Chunk& chunk : batch.chunks) backend_.SaveHidden(x_, chunk);
    return absl::OkStatus();
  }
  if (samples == 0) return absl::OkStatus();
  backend_.GatherSampled(x_, config.hidden_size, last_);
  Norm(last_, weights_.final_norm(), samples, last_);
  backend_.MatMul(weights_.output(), last_, samples, logits_);
  if (batch.wanted == Wanted::kBest) {
    backend_.BestTokens(logits_, samples, options_.share->vocab_rows.begin, best_);
    return collective_.GatherToLeader(best_, samples, best_columns_);
  }
  RETURN_IF_ERROR(collective_.GatherToLeader(logits_, samples, vocab_columns_));
  if (batch.wanted == Wanted::kTokens && options_.share->leader()) {
    backend_.SampleTokens(collective_.Gathered(logits_), vocab_columns_, samples, drawn_);
  }
  return absl::OkStatus();
}

// Waits for what was gathered.
absl::Status Forward::Read(const Batch& batch, int sent, Sampled& sampled) {
  const int rows = static_cast<int>(batch.sampled_rows().size());
  switch (batch.wanted) {
    case Wanted::kLogits:
      return collective_.ReadGathered(logits_, sent, rows, vocab_columns_, sampled.logits);
    case Wanted::kBest:
      return ReadBest(sent, rows, sampled.tokens);
    case Wanted::kTokens:
      break;
  }
  RETURN_IF_ERROR(collective_.Wait());
  if (!options_.share->leader()) return absl::OkStatus();
  std::vector<float> tokens(rows);
  backend_.ReadFloats(drawn_, rows, tokens.data());
  sampled.tokens.assign(tokens.begin(), tokens.end());
  return absl::OkStatus();
}

// Of equal logits the lowest token is the best.
absl::Status Forward::ReadBest(int sent, int rows, std::vector<uint32_t>& tokens) {
  RETURN_IF_ERROR(collective_.ReadGathered(best_, sent, rows, best_columns_, best_tokens_));
  if (!options_.share->leader()) return absl::OkStatus();
  tokens.clear();
  const int world = options_.share->world;
  for (int row = 0; row < rows; ++row) {
    const float* best = &best_tokens_[int64_t{row} * world * 2];
    for (const float* other = best + 2; other < &best_tokens_[0] + int64_t{row + 1} * world * 2;
         other += 2) {
      if (other[0] > best[0] || (other[0] == best[0] && other[1] < best[1])) best = other;
    }
    tokens.push_back(static_cast<uint32_t>(best[1]));
  }
  return absl::OkStatus();
}

absl::Status Forward::Sum(Activations x, int64_t count) {
  const auto begin = std::chrono::steady_clock::now();
  absl::Status status = collective_.Sum(x, count);
  collective_ms_ +=
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  return status;
}

}  // namespace headlong
