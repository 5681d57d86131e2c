// A worker's steps without a server: seconds per chunk of a prompt and per decode step of a batch.
//   step_bench MODEL DEVICE DTYPE PROMPT_TOKENS STEPS SEQUENCES
// MODEL: a folder; with a config.json alone its weights are dummies. DEVICE: cpu, cuda, or
// launches: a GPU without graphs.
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "common/status.h"
#include "worker/epoch.h"
#include "worker/solo.h"

namespace headlong {
namespace {

constexpr int kChunk = 512;

struct Arguments {
  std::filesystem::path model;
  std::string device, dtype;
  int prompt_tokens = 0, steps = 0, sequences = 0;
};

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

v1::Configure ConfigureFor(const Arguments& arguments, const ModelConfig& config,
                           const Plan& plan) {
  SoloLimits limits;
  limits.max_context = arguments.prompt_tokens + arguments.steps + 1;
  limits.max_sequences = arguments.sequences;
  limits.max_batch_tokens = std::max(kChunk, arguments.sequences);
  v1::Configure configure = ConfigureSolo(config, plan, limits);
  configure.set_dtype(arguments.dtype);
  configure.set_kv_cache_dtype(arguments.dtype);
  return configure;
}

v1::Step NextStep() {
  static uint64_t number = 0;
  v1::Step step;
  step.set_epoch(1);
  step.set_step(++number);
  return step;
}

absl::Status Prefill(Epoch& epoch, const Arguments& arguments, int vocab_size) {
  for (int sequence = 0; sequence < arguments.sequences; ++sequence) {
    v1::Step step = NextStep();
    v1::SequenceStart& start = *step.add_started();
    start.set_sequence_id(sequence + 1);
    start.set_prompt_tokens(arguments.prompt_tokens);
    const double begin = Now();
    for (int position = 0; position < arguments.prompt_tokens; position += kChunk) {
      if (position > 0) step = NextStep();
      v1::BatchEntry& entry = *step.add_entries();
      entry.set_sequence_id(sequence + 1);
      entry.set_position(position);
      const int end = std::min(position + kChunk, arguments.prompt_tokens);
      for (int i = position; i < end; ++i) entry.add_tokens((7919 * i + sequence) % vocab_size);
      entry.set_sample(end == arguments.prompt_tokens);
      RETURN_IF_ERROR(epoch.Run(step).status());
    }
    const double seconds = Now() - begin;
    std::printf("prefill %d: %d tokens in %.1f ms, %.0f tokens/s\n", sequence,
                arguments.prompt_tokens, 1e3 * seconds, arguments.prompt_tokens / seconds);
  }
  return absl::OkStatus();
}

absl::Status Decode(Epoch& epoch, const Arguments& arguments) {
  std::vector<double> seconds;
  std::vector<uint32_t> tokens(arguments.sequences, 1);
  for (int i = 0; i < arguments.steps; ++i) {
    v1::Step step = NextStep();
    for (int sequence = 0; sequence < arguments.sequences; ++sequence) {
      v1::BatchEntry& entry = *step.add_entries();
      entry.set_sequence_id(sequence + 1);
      entry.set_position(arguments.prompt_tokens + i);
      entry.add_tokens(tokens[sequence]);
      entry.set_sample(true);
    }
    const double begin = Now();
    ASSIGN_OR_RETURN(const v1::StepDone done, epoch.Run(step));
    seconds.push_back(Now() - begin);
    for (const v1::Sample& sample : done.samples()) {
      tokens[sample.sequence_id() - 1] = sample.token_id();
    }
  }
  std::sort(seconds.begin(), seconds.end());
  const auto at = [&](double part) { return 1e3 * seconds[part * (seconds.size() - 1)]; };
  std::printf("decode of %d at %d tokens: median %.3f ms, 10 %% %.3f, 90 %% %.3f\n",
              arguments.sequences, arguments.prompt_tokens, at(0.5), at(0.1), at(0.9));
  return absl::OkStatus();
}

absl::Status Run(const Arguments& arguments) {
  ASSIGN_OR_RETURN(const ModelConfig config, LoadModelConfig(arguments.model));
  auto opened = Checkpoint::Open(arguments.model, config);
  if (absl::IsNotFound(opened.status())) opened = Checkpoint::Dummy(config);
  RETURN_IF_ERROR(opened.status());
  const PlanShape shape = PlanShapeOf(config, (*opened)->fingerprint());
  ASSIGN_OR_RETURN(const Plan plan, Plan::Load("", arguments.model, shape));
  DeviceChoice choice{-1, "cpu", ""};
  if (arguments.device != "cpu") {
    ASSIGN_OR_RETURN(choice, ChooseDevice("cuda", -1, FindGpus()));
  }
  Device device(choice, arguments.device != "launches");
  NoPeers rendezvous;
  std::atomic<uint64_t> progress{0};
  EpochResources resources{&config, opened->get(), &device, &rendezvous, &progress, "127.0.0.1"};
  const double begin = Now();
  int64_t bytes = 0;
  double first = 0, last = 0;
  const auto loaded = [&](int64_t, int64_t total) {
    bytes = total;
    last = Now();
    if (first == 0) first = last;
  };
  ASSIGN_OR_RETURN(const auto epoch,
                   Epoch::Begin(ConfigureFor(arguments, config, plan), resources, loaded));
  device.backend().Wait();
  std::printf("%s (%s), %s: %.2f GB of fp32 weights loaded in %.2f s, %.2f s with all else\n",
              choice.name.c_str(), arguments.device.c_str(), arguments.dtype.c_str(), bytes / 1e9,
              last - first, Now() - begin);
  RETURN_IF_ERROR(Prefill(*epoch, arguments, config.vocab_size));
  return Decode(*epoch, arguments);
}

}  // namespace
}  // namespace headlong

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fputs("step_bench MODEL DEVICE DTYPE PROMPT_TOKENS STEPS SEQUENCES\n", stderr);
    return 2;
  }
  headlong::Arguments arguments{
      argv[1], argv[2], argv[3], std::atoi(argv[4]), std::atoi(argv[5]), std::atoi(argv[6])};
  const absl::Status status = headlong::Run(arguments);
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
