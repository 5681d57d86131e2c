#include "worker/forward.h"

#include <algorithm>
#include <chrono>

#include "common/status.h"

namespace headlong {

Forward::Forward(const ForwardOptions& options, Weights& weights, Backend& backend,
                 Collective& collective)
    : options_(options), weights_(weights), backend_(backend), collective_(collective) {
  for (const IndexRange& rows : options.share->vocab_by_rank) {
    vocab_columns_.push_back(rows.size());
  }
}

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
  RETURN_IF_ERROR(take(gate_up_, 2 * columns));
  RETURN_IF_ERROR(take(mlp_, columns));
  ASSIGN_OR_RETURN(last_, backend_.NewActivations(options_.max_samples, config.hidden_size));
  ASSIGN_OR_RETURN(logits_, backend_.NewActivations(options_.max_samples, share.vocab_rows.size()));
  return absl::OkStatus();
}

absl::StatusOr<SumProfile> Forward::MeasureSums() {
  return headlong::MeasureSums(collective_, x_,
                               int64_t{options_.max_rows} * options_.config->hidden_size);
}

absl::Status Forward::Run(const Batch& batch, const LaneTables& tables,
                          std::vector<float>& logits) {
  backend_.BeginBatch(batch, tables);
  RETURN_IF_ERROR(Enter(batch));
  for (int layer = batch.layer_begin; layer < batch.layer_end; ++layer) {
    RETURN_IF_ERROR(RunLayer(layer, layer == batch.layer_begin, batch.rows()));
    options_.progress->fetch_add(1, std::memory_order_relaxed);
  }
  backend_.Add(x_, y_, batch.rows(), options_.config->hidden_size);
  RETURN_IF_ERROR(Leave(batch, logits));
  RETURN_IF_ERROR(collective_.Wait());
  backend_.Wait();
  return absl::OkStatus();
}

// The residual stream at the first layer: embeddings, or what the layer before left.
absl::Status Forward::Enter(const Batch& batch) {
  if (batch.layer_begin > 0) {
    for (const Chunk& chunk : batch.chunks) backend_.LoadHidden(chunk, x_);
    return absl::OkStatus();
  }
  backend_.Embed(weights_.embedding(), options_.share->vocab_rows.begin, batch.tokens, x_);
  return Sum(x_, int64_t{batch.rows()} * options_.config->hidden_size);
}

// The residual stream gets what the layer before made (the first one's is whole), and y_ holds
// what this one made.
absl::Status Forward::RunLayer(int layer, bool first, int rows) {
  const ModelConfig& config = *options_.config;
  const int hidden = config.hidden_size;
  const int columns = options_.share->mlp_columns[layer].size();
  const float eps = static_cast<float>(config.rms_norm_eps);
  LayerWeights& weights = weights_.layer(layer);

  if (first) {
    backend_.RmsNorm(x_, *weights.attention_norm, eps, rows, normed_);
  } else {
    backend_.AddRmsNorm(x_, y_, *weights.attention_norm, eps, rows, normed_);
  }
  backend_.MatMul(*weights.qkv, normed_, rows, qkv_);
  if (config.qkv_bias) backend_.AddBias(qkv_, *weights.qkv_bias, rows);
  if (config.qk_norm) backend_.NormHeads(layer, qkv_, *weights.q_norm, *weights.k_norm, eps);
  backend_.Attend(layer, qkv_, heads_);
  if (options_.share->split(layer)) RETURN_IF_ERROR(CombineStripes(layer, rows));
  backend_.MatMul(*weights.out, heads_, rows, y_);
  RETURN_IF_ERROR(Sum(y_, int64_t{rows} * hidden));

  backend_.AddRmsNorm(x_, y_, *weights.mlp_norm, eps, rows, normed_);
  backend_.MatMul(*weights.gate_up, normed_, rows, gate_up_);
  backend_.SiluMul(gate_up_, rows, columns, mlp_);
  backend_.MatMul(*weights.down, mlp_, rows, y_);
  return Sum(y_, int64_t{rows} * hidden);
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
absl::Status Forward::Leave(const Batch& batch, std::vector<float>& logits) {
  const ModelConfig& config = *options_.config;
  if (batch.layer_end < config.layers) {
    for (const Chunk& chunk : batch.chunks) backend_.SaveHidden(x_, chunk);
    return absl::OkStatus();
  }
  std::vector<int> rows;
  for (const Chunk& chunk : batch.chunks) {
    if (chunk.sample) rows.push_back(chunk.first_row + chunk.count - 1);
  }
  if (rows.empty()) return absl::OkStatus();
  const int count = static_cast<int>(rows.size());
  backend_.GatherRows(x_, rows, config.hidden_size, last_);
  backend_.RmsNorm(last_, weights_.final_norm(), static_cast<float>(config.rms_norm_eps), count,
                   last_);
  backend_.MatMul(weights_.output(), last_, count, logits_);
  return collective_.GatherToLeader(logits_, count, vocab_columns_, logits);
}

absl::Status Forward::Sum(Activations x, int64_t count) {
  const auto begin = std::chrono::steady_clock::now();
  absl::Status status = collective_.Sum(x, count);
  collective_ms_ +=
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  return status;
}

}  // namespace headlong
