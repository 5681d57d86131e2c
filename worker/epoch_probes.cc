// What an epoch answers of what calibration asked of its prompts.
#include <algorithm>

#include "worker/epoch.h"

namespace headlong {

// KL on the leader, which has the logits; attention on everyone, of the own heads. What cannot be
// measured is said in the answer: the step itself is done.
void Epoch::ReadProbes(const Batch& batch, v1::StepDone& done) {
  size_t row = 0;
  for (const Chunk& chunk : batch.chunks) {
    if (chunk.probed.empty() && chunk.period == 0 && !chunk.spectra) {
      row += chunk.sample ? 1 : 0;
      continue;
    }
    v1::ProbeResult result;
    if (share_.leader()) ReadDistributions(chunk, row, result);
    row += chunk.probed.size() + (chunk.sample ? 1 : 0);
    if (chunk.period > 0) ReadAttention(chunk, result);
    if (chunk.spectra) ReadSpectra(chunk, result);
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
  for (const int32_t probed : chunk.probed) {
    const std::span<const float> logits(&sampled_.logits[row++ * vocab], vocab);
    const auto at = std::lower_bound(positions.begin(), positions.end(), chunk.position + probed);
    const size_t number = static_cast<size_t>(at - positions.begin());
    result.set_rows(result.rows() + 1);
    if (probe.keep_as() != 0) {
      if (const absl::Status status = kept.Keep(probe.keep_as(), logits); !status.ok()) {
        return result.set_error(std::string(status.message()));
      }
    }
    if (probe.compare_with() == 0) continue;
    const absl::StatusOr<double> kl = kept.Compare(probe.compare_with(), number, logits);
    if (!kl.ok()) return result.set_error(std::string(kl.status().message()));
    result.set_kl(result.kl() + *kl);
  }
}

void Epoch::ReadAttention(const Chunk& chunk, v1::ProbeResult& result) {
  const int64_t first = std::max(chunk.position, chunk.first_scored);
  if (share_.leader()) {  // counted once, whoever holds the heads
    result.set_scored_rows(static_cast<uint64_t>(std::max<int64_t>(chunk.end() - first, 0)));
  }
  for (const AttentionSums& sums : resources_.device->backend().TakeAttentionSums()) {
    v1::HeadAttention& head = *result.add_heads();
    head.set_layer(static_cast<uint32_t>(sums.layer));
    head.set_query_head(static_cast<uint32_t>(sums.query_head));
    head.set_echo(sums.echo);
    head.set_induction(sums.induction);
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
