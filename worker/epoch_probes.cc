// What an epoch answers of what calibration asked of its prompts.
#include <algorithm>
#include <span>
#include <vector>

#include "worker/epoch.h"

namespace headlong {

// KL on the leader, which has the logits; attention on everyone, of the own heads. What cannot be
// measured is said in the answer: the step itself is done.
void Epoch::ReadProbes(const Batch& batch, v1::StepDone& done) {
  size_t row = 0;
  for (const Chunk& chunk : batch.chunks) {
    if (!chunk.measured()) {
      row += chunk.sample ? 1 : 0;
      continue;
    }
    v1::ProbeResult result;
    if (share_.leader()) ReadDistributions(chunk, row, result);
    row += chunk.probed.size() + (chunk.sample ? 1 : 0);
    if (chunk.scores_attention()) ReadAttention(chunk, result);
    if (chunk.spectra) ReadSpectra(chunk, result);
    if (chunk.similarity && share_.leader()) {
      const std::vector<double>& sums = forward_->similarities();
      result.mutable_similarities()->Add(sums.begin(), sums.end());
    }
    if (result.ByteSizeLong() == 0) continue;
    v1::SequenceProbe& out = *done.add_probes();
    out.set_sequence_id(chunk.sequence_id);
    *out.mutable_result() = std::move(result);
  }
}

// `row`: of the logits, the chunk's first.
void Epoch::ReadDistributions(const Chunk& chunk, size_t row, v1::ProbeResult& result) {
  const v1::Probe& probe = sequences_.at(chunk.sequence_id).probe;
  const auto& positions = probe.positions();
  const size_t vocab = resources_.config->vocab_size;
  KeptDistributions& kept = resources_.device->kept();
  const auto logits = [&](size_t i) {
    return std::span(&sampled_.logits[(row + i) * vocab], vocab);
  };
  const auto first = std::lower_bound(positions.begin(), positions.end(), chunk.position);
  result.set_rows(result.rows() + chunk.probed.size());
  for (size_t i = 0; probe.keep_as() != 0 && i < chunk.probed.size(); ++i) {
    if (const absl::Status status = kept.Keep(probe.keep_as(), logits(i)); !status.ok()) {
      return result.set_error(std::string(status.message()));
    }
  }
  if (probe.compare_with() == 0) return;
  std::vector<absl::StatusOr<double>> kls(chunk.probed.size());
#pragma omp parallel for schedule(dynamic)
  for (size_t i = 0; i < kls.size(); ++i) {
    const size_t number = static_cast<size_t>(first - positions.begin()) + i;
    kls[i] = kept.Compare(probe.compare_with(), number, logits(i));
  }
  for (const absl::StatusOr<double>& kl : kls) {
    if (!kl.ok()) return result.set_error(std::string(kl.status().message()));
    result.set_kl(result.kl() + *kl);
  }
}

void Epoch::ReadAttention(const Chunk& chunk, v1::ProbeResult& result) {
  const int64_t first = std::max(chunk.position, chunk.first_scored);
  if (chunk.period > 0 && share_.leader()) {  // counted once, whoever holds the heads
    result.set_scored_rows(static_cast<uint64_t>(std::max<int64_t>(chunk.end() - first, 0)));
  }
  for (const AttentionSums& sums : resources_.device->backend().TakeAttentionSums()) {
    v1::HeadAttention& head = *result.add_heads();
    head.set_layer(static_cast<uint32_t>(sums.layer));
    head.set_query_head(static_cast<uint32_t>(sums.query_head));
    head.set_echo(sums.echo);
    head.set_induction(sums.induction);
    head.set_copied(static_cast<uint32_t>(sums.copied));
  }
}

// With the last chunk of the prompt: of all of it.
void Epoch::ReadSpectra(const Chunk& chunk, v1::ProbeResult& result) {
  if (chunk.end() != sequences_.at(chunk.sequence_id).prompt_tokens) return;
  for (const HeadMoments& moments : resources_.device->backend().TakeSpectra()) {
    v1::HeadSpectra& head = *result.add_spectra();
    head.set_layer(static_cast<uint32_t>(moments.layer));
    head.set_head(static_cast<uint32_t>(moments.head));
    head.mutable_queries()->Add(moments.queries.begin(), moments.queries.end());
    head.mutable_keys()->Add(moments.keys.begin(), moments.keys.end());
    head.mutable_values()->Add(moments.values.begin(), moments.values.end());
  }
}

}  // namespace headlong
