#include "worker/epoch.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "cache/storage.h"
#include "common/status.h"
#include "worker/collective_device.h"
#include "worker/gpu_limits.h"
#include "worker/head_projections.h"
#include "worker/sampler.h"

namespace headlong {
namespace {

double MillisecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

bool HasLocalHead(const Plan& plan) {
  for (int layer = 0; layer < plan.layers(); ++layer) {
    for (int head = 0; head < plan.kv_heads(); ++head) {
      if (!plan.policy(layer, head).full()) return true;
    }
  }
  return false;
}

absl::Status CheckLimits(const v1::Configure& configure, const ModelConfig& config) {
  if (configure.max_sequences() == 0 || configure.max_batch_tokens() == 0) {
    return absl::InvalidArgumentError("configure: max_sequences and max_batch_tokens must be set");
  }
  if (configure.max_context() == 0 || configure.max_context() > config.max_context) {
    return absl::InvalidArgumentError(absl::StrCat("configure: max_context ",
                                                   configure.max_context(), " is not in [1, ",
                                                   config.max_context, "]"));
  }
  return absl::OkStatus();
}

// Appends the tokens of an entry. False: there are none such.
bool AddTokens(const v1::BatchEntry& entry, const LastSamples& last, int vocab,
               std::vector<uint32_t>& tokens) {
  if (entry.sampled_before()) {
    const auto id = std::find(last.ids.begin(), last.ids.end(), entry.sequence_id());
    if (id == last.ids.end() || entry.tokens_size() > 0) return false;
    tokens.push_back(last.tokens[id - last.ids.begin()]);
    return true;
  }
  tokens.insert(tokens.end(), entry.tokens().begin(), entry.tokens().end());
  return std::all_of(entry.tokens().begin(), entry.tokens().end(),
                     [vocab](uint32_t token) { return token < static_cast<uint32_t>(vocab); });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Epoch>> Epoch::Begin(const v1::Configure& configure,
                                                    const EpochResources& resources,
                                                    const Weights::Progress& progress) {
  const ModelConfig& config = *resources.config;
  RETURN_IF_ERROR(CheckLimits(configure, config));
  std::unique_ptr<Epoch> epoch(new Epoch(configure.epoch(), resources));
  const PlanShape shape = PlanShapeOf(config, resources.checkpoint->fingerprint());
  ASSIGN_OR_RETURN(Plan plan, Plan::FromJson(configure.plan_json(), shape, "configure: plan"));
  RETURN_IF_ERROR(plan.CheckWindows(config.layer_windows));
  epoch->plan_ = std::make_unique<Plan>(std::move(plan));
  ASSIGN_OR_RETURN(
      epoch->share_,
      MakeShare(configure.placement(), static_cast<int>(configure.rank()), config, *epoch->plan_));
  ASSIGN_OR_RETURN(const Storage number_type, PlainStorageFromName(configure.dtype()));
  if (number_type == Storage::kFloat16) {
    return absl::InvalidArgumentError("configure: dtype: products are in fp32 or bf16, not fp16");
  }
  ASSIGN_OR_RETURN(epoch->storage_, PlainStorageFromName(configure.kv_cache_dtype()));
  Device& device = *resources.device;
  if (device.choice().cuda()) {
    RETURN_IF_ERROR(CheckRunsOnGpu(config, *epoch->plan_, epoch->storage_));
  }
  RETURN_IF_ERROR(device.Use(number_type));
  RETURN_IF_ERROR(device.weights().Load(*resources.checkpoint, config, epoch->share_,
                                        device.backend(), progress));
  RETURN_IF_ERROR(epoch->TakeCaches(configure));
  RETURN_IF_ERROR(epoch->Connect());
  if (configure.measure()) RETURN_IF_ERROR(epoch->MeasureSteps());
  return epoch;
}

absl::Status Epoch::TakeCaches(const v1::Configure& configure) {
  const ModelConfig& config = *resources_.config;
  max_batch_tokens_ = static_cast<int>(configure.max_batch_tokens());
  max_sequences_ = static_cast<int>(configure.max_sequences());
  max_context_ = configure.max_context();
  exact_prefill_ = plan_->prefill() == PrefillMode::kExact && HasLocalHead(*plan_);

  std::vector<LaneClass> classes = BuildLaneClasses(*plan_, share_.lanes);
  if (classes.size() != share_.class_pages.size()) {
    return absl::InvalidArgumentError(absl::StrCat("placement: pages of ",
                                                   share_.class_pages.size(),
                                                   " lane classes instead of ", classes.size()));
  }
  AttentionShape attention;
  attention.head_dim = config.head_dim;
  attention.group = config.group();
  attention.heads = share_.heads;
  attention.stripes = share_.stripes;
  attention.inverse_frequencies = config.rope_frequencies;
  attention.alibi_slopes = config.alibi_slopes;
  attention.rope_scale = static_cast<float>(config.rope.attention_factor);
  attention.windows = config.layer_windows;
  ASSIGN_OR_RETURN(attention.projections,
                   ProjectionsOf(*plan_, share_.heads, configure, config.head_dim));
  attention.max_context = max_context_;
  attention.max_rows = max_batch_tokens_;
  CacheShape cache;
  cache.storage = storage_;
  cache.plan = plan_.get();
  cache.classes = &classes;
  cache.class_pages = share_.class_pages;
  cache.max_sequences = max_sequences_;
  RETURN_IF_ERROR(resources_.device->backend().NewCaches(attention, cache));
  tables_ = std::make_unique<LaneTables>(*plan_, std::move(classes), share_.class_pages,
                                         cache.max_sequences);
  return absl::OkStatus();
}

absl::Status Epoch::Connect() {
  Device& device = *resources_.device;
  GlooOptions peers;
  peers.rank = share_.rank;
  peers.world = share_.world;
  peers.host = resources_.host;
  ASSIGN_OR_RETURN(collective_, ConnectWorkers(peers, device.choice(), resources_.sums,
                                               *resources_.rendezvous, device.backend()));
  ForwardOptions options;
  options.config = resources_.config;
  options.share = &share_;
  options.max_rows = max_batch_tokens_;
  // A token of each sequence, and as many rows that are probed.
  options.max_samples = std::min(max_batch_tokens_, 2 * max_sequences_);
  options.progress = resources_.progress;
  ASSIGN_OR_RETURN(forward_,
                   Forward::Create(options, device.weights(), device.backend(), *collective_));
  if (share_.world > 1) {
    ASSIGN_OR_RETURN(sums_, forward_->MeasureSums());
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::StepDone> Epoch::Run(const v1::Step& step) {
  const auto begin = std::chrono::steady_clock::now();
  const double collective_before = forward_->collective_ms();
  v1::StepDone done;
  done.set_epoch(number_);
  done.set_step(step.step());
  RETURN_IF_ERROR(StartAndEnd(step));
  RETURN_IF_ERROR(ShareSampled(step));
  // Entries that run through all layers share one batch; units of an exact prefill stand alone.
  Batch main;
  main.layer_end = resources_.config->layers;
  std::vector<Batch> units;
  for (const v1::BatchEntry& entry : step.entries()) {
    if (entry.layer_end() == 0) {
      RETURN_IF_ERROR(AddEntry(entry, main));
      continue;
    }
    Batch& unit = units.emplace_back();
    unit.layer_begin = static_cast<int>(entry.layer_begin());
    unit.layer_end = static_cast<int>(entry.layer_end());
    RETURN_IF_ERROR(AddEntry(entry, unit));
  }
  last_ = {};
  if (main.rows() > 0) RETURN_IF_ERROR(RunBatch(std::move(main), done));
  for (Batch& unit : units) RETURN_IF_ERROR(RunBatch(std::move(unit), done));
  done.set_cache_bytes_used(
      tables_->UsedBytes(resources_.config->head_dim, ElementBytes(storage_)));
  done.set_collective_ms(forward_->collective_ms() - collective_before);
  done.set_compute_ms(MillisecondsSince(begin) - done.collective_ms());
  return done;
}

absl::Status Epoch::StartAndEnd(const v1::Step& step) {
  for (uint64_t id : step.ended()) {
    RETURN_IF_ERROR(tables_->End(id));
    sequences_.erase(id);
  }
  if (sequences_.empty() && !tables_->Balanced()) {
    return absl::InternalError("pages are missing although no sequence runs");
  }
  for (const v1::SequenceStart& start : step.started()) {
    RETURN_IF_ERROR(Start(start.sequence_id(), start.prompt_tokens(), start.sampling()));
    if (start.has_probe()) {
      sequences_[start.sequence_id()].probe = start.probe();
      if (start.probe().keep_as() != 0 && share_.leader()) {
        resources_.device->kept().Begin(start.probe().keep_as());
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Epoch::Start(uint64_t id, int64_t prompt_tokens, const v1::SamplingParams& sampling) {
  ASSIGN_OR_RETURN(const int slot, tables_->Start(id, prompt_tokens));
  resources_.device->backend().ResetSums(slot);
  sequences_[id] = {sampling, prompt_tokens, {}};
  return absl::OkStatus();
}

absl::Status Epoch::Adopt(const LaneTransfer& transfer) {
  for (const v1::LiveSequence& sequence : transfer.asked().sequences()) {
    RETURN_IF_ERROR(Start(sequence.sequence_id(), sequence.prompt_tokens(), sequence.sampling()));
    Chunk chunk;  // computed elsewhere
    chunk.sequence_id = sequence.sequence_id();
    chunk.count = static_cast<int>(sequence.committed());
    RETURN_IF_ERROR(tables_->Advance(chunk, 0));
    tables_->Commit(sequence.sequence_id());
  }
  transfer.Unpack(*tables_, resources_.device->backend());
  return absl::OkStatus();
}

absl::Status Epoch::Fill(uint64_t sequence_id, int64_t position, int count, uint64_t seed) {
  Batch batch;
  Chunk& chunk = batch.chunks.emplace_back();
  chunk.sequence_id = sequence_id;
  chunk.position = position;
  chunk.count = count;
  if (count < 1 || count > max_batch_tokens_ || chunk.end() > max_context_) {
    return absl::FailedPreconditionError(absl::StrCat("filling: ", count, " tokens at ", position,
                                                      ", where a batch holds ", max_batch_tokens_,
                                                      " and a sequence ", max_context_));
  }
  batch.layer_end = resources_.config->layers;
  batch.tokens.resize(count);
  for (int i = 0; i < count; ++i) batch.positions.push_back(static_cast<int32_t>(position + i));
  RETURN_IF_ERROR(tables_->Advance(chunk, 0));
  forward_->Fill(batch, *tables_, seed);
  tables_->Commit(sequence_id);
  return absl::OkStatus();
}

// Every worker embeds the tokens that the leader drew.
absl::Status Epoch::ShareSampled(const v1::Step& step) {
  const bool asked = std::any_of(step.entries().begin(), step.entries().end(),
                                 [](const auto& entry) { return entry.sampled_before(); });
  if (!asked || share_.world == 1) return absl::OkStatus();
  last_.tokens.resize(last_.ids.size());
  return forward_->ShareTokens(last_.tokens);
}

absl::Status Epoch::AddEntry(const v1::BatchEntry& entry, Batch& batch) const {
  const auto refuse = [&](const char* why) {
    return absl::FailedPreconditionError(
        absl::StrCat("sequence ", entry.sequence_id(), " at ", entry.position(), ": ", why));
  };
  const auto sequence = sequences_.find(entry.sequence_id());
  if (sequence == sequences_.end()) return refuse("was not started");
  Chunk chunk;
  chunk.sequence_id = entry.sequence_id();
  chunk.first_row = batch.rows();
  chunk.count = entry.sampled_before() ? 1 : entry.tokens_size();
  chunk.position = entry.position();
  chunk.sample = entry.sample();
  chunk.exact = exact_prefill_ && chunk.position < sequence->second.prompt_tokens;
  if (chunk.count == 0) return refuse("no tokens");
  if (chunk.end() > max_context_) return refuse("beyond the context");
  if (batch.rows() + chunk.count > max_batch_tokens_) return refuse("more rows than a batch holds");
  const bool unit = entry.layer_end() != 0;
  if (unit != chunk.exact) return refuse("units of layers are for an exact prefill, and only they");
  if (chunk.exact && chunk.end() > sequence->second.prompt_tokens) {
    return refuse("an exact prefill ends with the prompt");
  }
  const uint32_t layers = static_cast<uint32_t>(resources_.config->layers);
  if (unit && (entry.layer_begin() >= entry.layer_end() || entry.layer_end() > layers)) {
    return refuse("no such layers");
  }
  for (const Chunk& other : batch.chunks) {
    if (other.sequence_id == chunk.sequence_id) return refuse("stands twice in the step");
  }
  if (!AddTokens(entry, last_, resources_.config->vocab_size, batch.tokens)) {
    return refuse("a token outside the vocabulary, or none");
  }
  for (int i = 0; i < chunk.count; ++i) {
    batch.positions.push_back(static_cast<int32_t>(chunk.position + i));
  }
  RETURN_IF_ERROR(AddProbe(sequence->second, chunk));
  batch.chunks.push_back(std::move(chunk));
  return absl::OkStatus();
}

absl::Status Epoch::AddProbe(const Sequence& sequence, Chunk& chunk) const {
  const auto& positions = sequence.probe.positions();
  for (auto at = std::lower_bound(positions.begin(), positions.end(), chunk.position);
       at != positions.end() && *at < chunk.end(); ++at) {
    chunk.probed.push_back(static_cast<int32_t>(*at - chunk.position));
  }
  const auto& rows = sequence.probe.copying_rows();
  for (auto at = std::lower_bound(rows.begin(), rows.end(), chunk.position);
       at != rows.end() && *at < chunk.end(); ++at) {
    const int index = static_cast<int>(at - rows.begin());
    chunk.copies.push_back({*at, sequence.probe.copied_positions(index)});
  }
  chunk.period = sequence.probe.period();
  chunk.first_scored = sequence.probe.first_row();
  chunk.spectra = sequence.probe.spectra();
  chunk.similarity = sequence.probe.similarity();
  if (chunk.exact && chunk.measured()) {
    return absl::UnimplementedError("an exact prefill is not probed");
  }
  return absl::OkStatus();
}

// Where the tokens of the sampled rows are chosen: by each worker, on the leader's device, or here.
void Epoch::ChooseTokens(Batch& batch) const {
  bool greedy = true, logprobs = false;
  std::vector<TokenDraw> draws;
  for (const Chunk& chunk : batch.chunks) {
    if (!chunk.probed.empty()) return;
    if (!chunk.sample) continue;
    const v1::SamplingParams& sampling = sequences_.at(chunk.sequence_id).sampling;
    greedy &= IsGreedy(sampling);
    logprobs |= sampling.want_logprobs();
    draws.push_back(DrawOf(sampling, chunk.end()));
  }
  if (resources_.keeps_logits || logprobs) return;
  if (greedy) {
    batch.wanted = Wanted::kBest;
  } else if (forward_->DrawsTokens()) {
    batch.wanted = Wanted::kTokens;
    batch.draws = std::move(draws);
  }
}

absl::Status Epoch::RunBatch(Batch batch, v1::StepDone& done) {
  if (batch.sampled() > std::min(max_batch_tokens_, 2 * max_sequences_)) {
    return absl::FailedPreconditionError("more rows are probed than a batch can");
  }
  for (const Chunk& chunk : batch.chunks) {
    RETURN_IF_ERROR(tables_->Advance(chunk, batch.layer_begin));
  }
  ChooseTokens(batch);
  RETURN_IF_ERROR(forward_->Run(batch, *tables_, sampled_));
  const bool last_layer = batch.layer_end == resources_.config->layers;
  for (const Chunk& chunk : batch.chunks) {
    const bool prompt_done =
        last_layer && chunk.end() == sequences_.at(chunk.sequence_id).prompt_tokens;
    if (!chunk.exact || prompt_done) tables_->Commit(chunk.sequence_id);
  }
  if (last_layer) {
    for (const Chunk& chunk : batch.chunks) {
      if (chunk.sample) last_.ids.push_back(chunk.sequence_id);
    }
  }
  if (share_.leader()) Sample(batch, done);
  ReadProbes(batch, done);
  return absl::OkStatus();
}

void Epoch::Sample(const Batch& batch, v1::StepDone& done) {
  if (batch.layer_end < resources_.config->layers) return;
  const size_t vocab = resources_.config->vocab_size;
  std::vector<const Chunk*> rows;
  std::vector<size_t> logits_of;  // the logits of a chunk's probed rows come before its own
  size_t next = 0;
  for (const Chunk& chunk : batch.chunks) {
    next += chunk.probed.size();
    if (!chunk.sample) continue;
    rows.push_back(&chunk);
    logits_of.push_back(next++);
  }
  std::vector<SampledToken> tokens(rows.size());
#pragma omp parallel for schedule(dynamic) if (rows.size() > 1 && batch.wanted == Wanted::kLogits)
  for (size_t row = 0; row < rows.size(); ++row) {
    if (batch.wanted != Wanted::kLogits) {
      tokens[row].token = sampled_.tokens[row];
      continue;
    }
    tokens[row] = SampleToken(std::span(&sampled_.logits[logits_of[row] * vocab], vocab),
                              sequences_.at(rows[row]->sequence_id).sampling, rows[row]->end());
  }
  for (size_t row = 0; row < rows.size(); ++row) {
    const SampledToken& sampled = tokens[row];
    last_.tokens.push_back(sampled.token);
    v1::Sample& out = *done.add_samples();
    out.set_sequence_id(rows[row]->sequence_id);
    out.set_token_id(sampled.token);
    out.set_logprob(sampled.logprob);
    for (const auto& [token, logprob] : sampled.top) {
      v1::TokenLogprob& top = *out.add_top();
      top.set_token_id(token);
      top.set_logprob(logprob);
    }
  }
}

}  // namespace headlong
