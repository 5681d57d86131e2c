#include "coordinator/live_request.h"

#include <algorithm>
#include <utility>

namespace headlong {
namespace {

DeliveryRules RulesOf(const Request& request, const ModelConfig& config,
                      const Tokenizer& tokenizer) {
  DeliveryRules rules;
  if (!request.sampling.ignore_eos) {
    for (int64_t id : config.eos_token_ids) rules.eos_ids.push_back(static_cast<TokenId>(id));
  }
  rules.stop = request.stop;
  rules.max_tokens = request.max_tokens;
  const auto prompt = std::span(request.tokens).first(request.prompt_length);
  rules.mid_text = std::any_of(prompt.begin(), prompt.end(),
                               [&](TokenId id) { return !tokenizer.IsSpecial(id); });
  return rules;
}

}  // namespace

LiveRequest::LiveRequest(Request accepted, const ModelConfig& config, const Tokenizer* tokenizer,
                         std::shared_ptr<ClientPort> port, TimePoint now)
    : request(std::move(accepted)),
      client(std::move(port)),
      delivery(tokenizer, RulesOf(request, config, *tokenizer)),
      submitted(now),
      last_token(now) {
  const std::span<const TokenId> log(request.tokens);
  delivery.Prime(log.subspan(request.prompt_length));
}

void LiveRequest::Deliver(const v1::Sample& sample, TimePoint now) {
  DeliveredToken token;
  token.index = request.generated();
  token.token = sample.token_id();
  if (request.sampling.logprobs) {
    token.logprobs.emplace();
    token.logprobs->logprob = sample.logprob();
    for (const v1::TokenLogprob& top : sample.top()) {
      token.logprobs->top.emplace_back(top.token_id(), top.logprob());
    }
  }
  request.tokens.push_back(token.token);
  token.text = delivery.Push(token.token);
  if (!first_token) first_token = now;
  last_token = now;
  client->Token(token);
}

void LiveRequest::ReportProgress(int64_t computed) {
  if (!request.report_progress || computed >= request.prompt_length) return;
  client->Progress(computed, request.prompt_length);
}

void LiveRequest::TakeProbe(const v1::ProbeResult& result) {
  probed.set_rows(probed.rows() + result.rows());
  probed.set_kl(probed.kl() + result.kl());
  probed.set_scored_rows(probed.scored_rows() + result.scored_rows());
  probed.mutable_spectra()->MergeFrom(result.spectra());  // each head comes once
  for (const v1::HeadAttention& head : result.heads()) {
    const auto held = std::find_if(
        probed.mutable_heads()->begin(), probed.mutable_heads()->end(), [&](const auto& other) {
          return other.layer() == head.layer() && other.query_head() == head.query_head();
        });
    if (held == probed.mutable_heads()->end()) {
      *probed.add_heads() = head;
      continue;
    }
    held->set_echo(held->echo() + head.echo());
    held->set_induction(held->induction() + head.induction());
    held->set_copied(held->copied() + head.copied());
  }
  for (int layer = 0; layer < result.similarities_size(); ++layer) {
    if (layer == probed.similarities_size()) probed.add_similarities(0);
    probed.set_similarities(layer, probed.similarities(layer) + result.similarities(layer));
  }
}

int64_t LiveRequest::CacheBytes(const Plan& plan, const ModelConfig& config, int element_bytes,
                                int64_t computed) const {
  return plan.SequenceBytes(computed, request.original_prompt_tokens, config.head_dim,
                            element_bytes);
}

FinishedRequest LiveRequest::Summary(const Plan& plan, const ModelConfig& config, int element_bytes,
                                     TimePoint now) {
  FinishedRequest summary;
  summary.reason = finished().value_or(FinishReason::kCancelled);
  summary.text = delivery.Flush();
  if (request.probe) summary.probe = probed;
  summary.prompt_tokens = request.prompt_length;
  summary.completion_tokens = request.generated();
  // The last token was sampled, its key never computed.
  const int64_t length = std::max<int64_t>(static_cast<int64_t>(request.tokens.size()) - 1, 1);
  summary.cache_bytes = CacheBytes(plan, config, element_bytes, length);
  summary.full_cache_bytes = plan.FullSequenceBytes(length, config.head_dim, element_bytes);
  const TimePoint begin = scheduled.value_or(now);
  const TimePoint first = first_token.value_or(now);
  summary.queue_ms = MillisBetween(submitted, begin);
  summary.prefill_ms = MillisBetween(begin, first);
  summary.decode_ms = first_token ? MillisBetween(first, last_token) : 0;
  summary.total_ms = MillisBetween(submitted, now);
  return summary;
}

v1::SamplingParams ToWire(const Sampling& sampling) {
  v1::SamplingParams wire;
  wire.set_temperature(sampling.temperature);
  wire.set_top_p(sampling.top_p);
  wire.set_top_k(sampling.top_k);
  wire.set_min_p(sampling.min_p);
  wire.set_seed(sampling.seed);
  wire.set_want_logprobs(sampling.logprobs.has_value());
  wire.set_logprobs(static_cast<uint32_t>(sampling.logprobs.value_or(0)));
  return wire;
}

}  // namespace headlong
