// `bench context`: the longest context that this machine holds, by filling it, and how fast tokens
// are decoded there.
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "cli/local_cluster.h"
#include "cli/quantity.h"
#include "common/status.h"
#include "worker/context_bench.h"

namespace headlong {
namespace {

struct BenchContextFlags {
  std::string model;
  std::string memory_limit;
  ContextBenchOptions options;
  OutputFlag output;
};

std::string ContextText(const ContextReport& report) {
  std::string text = absl::StrFormat(
      "%s, products in %s, caches in %s\n"
      "tokens    %s held, %d of them decoded\n"
      "weights   %s\n"
      "caches    %s taken, %s in use, %s a token\n",
      report.device, report.dtype, report.kv_cache_dtype, FormatCount(report.tokens),
      report.decoded, FormatBytes(report.weights_bytes), FormatBytes(report.cache_bytes),
      FormatBytes(report.cache_bytes_used),
      FormatBytes(static_cast<int64_t>(report.cache_bytes_per_token)));
  if (report.memory_bytes > 0) {
    absl::StrAppend(&text, "free      ", FormatBytes(report.memory_free_bytes), " of ",
                    FormatBytes(report.memory_bytes), "\n");
  }
  absl::StrAppendFormat(
      &text,
      "filled    in %s\n"
      "decode    %.2f ms a token (10 %% below %.2f, above %.2f), of an empty sequence %.2f\n"
      "reads     %s a token at %.0f GB/s, %s of the %.0f GB/s that this machine reads at\n",
      FormatMillis(1e3 * report.fill_s), report.decode_ms, report.decode_low_ms,
      report.decode_high_ms, report.empty_ms, FormatBytes(static_cast<int64_t>(report.read_bytes)),
      report.read_bytes / report.decode_ms * 1e-6, FormatPercent(report.share_of_ceiling()),
      report.ceiling_bytes_per_s * 1e-9);
  return text;
}

OutputJson ContextJson(const ContextReport& report) {
  return {{"device", report.device},
          {"dtype", report.dtype},
          {"kv_cache_dtype", report.kv_cache_dtype},
          {"tokens", report.tokens},
          {"decoded_tokens", report.decoded},
          {"weights_bytes", report.weights_bytes},
          {"cache_bytes", report.cache_bytes},
          {"cache_bytes_used", report.cache_bytes_used},
          {"cache_bytes_per_token", report.cache_bytes_per_token},
          {"memory_bytes", report.memory_bytes},
          {"memory_free_bytes", report.memory_free_bytes},
          {"fill_seconds", report.fill_s},
          {"decode_ms",
           {{"median", report.decode_ms},
            {"p10", report.decode_low_ms},
            {"p90", report.decode_high_ms}}},
          {"decode_empty_ms", report.empty_ms},
          {"read_bytes", report.read_bytes},
          {"read_ceiling_bytes_per_second", report.ceiling_bytes_per_s},
          {"share_of_ceiling", report.share_of_ceiling()}};
}

absl::Status FindModel(BenchContextFlags& flags) {
  std::string model = flags.model;
  if (flags.options.load_format == "dummy") model = FolderOfConfig(model);
  if (model.empty()) {
    ASSIGN_OR_RETURN(model, FindDefaultModel());
  }
  flags.options.model_dir = model;
  return CheckModelFolder(model);
}

ExitCode RunContext(BenchContextFlags& flags, Terminal& terminal) {
  if (!flags.memory_limit.empty()) {
    const absl::StatusOr<int64_t> limit = ParseBytes(flags.memory_limit);
    if (!limit.ok()) return FailUsage(absl::StrCat("--memory-limit: ", limit.status().message()));
    flags.options.memory_limit_bytes = *limit;
  }
  if (const absl::Status found = FindModel(flags); !found.ok()) return Fail(found);
  Progress progress(terminal, "context");
  const auto report =
      BenchContext(flags.options, [&](double done, double total, const std::string& what) {
        progress.Update({done, total, what});
        return !Interrupted();
      });
  progress.Hide();
  if (!report.ok()) return Fail(report.status());
  const absl::Status printed =
      flags.output.json() ? PrintJson(ContextJson(*report)) : PrintText(ContextText(*report));
  return printed.ok() ? ExitCode::kOk : Fail(printed);
}

void AddContextOptions(CLI::App* command, BenchContextFlags* flags) {
  ContextBenchOptions& options = flags->options;
  command->add_option("--model", flags->model,
                      "Model folder, or with --load-format dummy its config.json (default: "
                      "needle-10m)");
  AddLoadFormatFlag(command, &options.load_format);
  command->add_option("--plan", options.plan,
                      "full, local or a file (default: the model's plan.json, else full)");
  command
      ->add_option("-d,--tokens", options.tokens,
                   "Tokens to fill, also more than the model's context (default: the most that "
                   "fit)")
      ->check(CheckPositive, "POSITIVE");
  command->add_option("--decode", options.decode, "Tokens decoded afterwards")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command
      ->add_option("--dtype", options.dtype,
                   "Weights and products: auto (what is faster here), fp32 or bf16")
      ->check(CLI::IsMember({"auto", "fp32", "bf16"}));
  command
      ->add_option("--kv-cache-dtype", options.kv_cache_dtype,
                   "Keys and values: auto (bf16 unless --dtype fp32), fp32, bf16 or fp16")
      ->check(CLI::IsMember({"auto", "fp32", "bf16", "fp16"}));
  command->add_option("--max-batch-tokens", options.max_batch_tokens, "Tokens filled in one step")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
  command->add_option("--device", options.device, "auto (a GPU where one can be used), cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  command->add_option("--gpu", options.gpu, "Which GPU, counted from 0")
      ->check(CLI::Range(0, 1023));
  command->add_option("--threads", options.threads, "Threads (default: the cores)")
      ->check(CLI::Range(1, 4096));
  command->add_option("--memory-limit", flags->memory_limit,
                      "What weights and caches may take, e.g. 8GiB (default: half of what is free, "
                      "nearly all of a GPU's)");
  command->add_option("--seed", options.seed, "The same seed, the same keys and values")
      ->capture_default_str();
  AddOutputFlag(command, &flags->output);
}

}  // namespace

void AddBenchContextCommand(CommandLine& cli, CLI::App* bench) {
  auto flags = std::make_shared<BenchContextFlags>();
  CLI::App* command = bench->add_subcommand(
      "context",
      "The longest context that fits, filled with random keys and values, and decoding there");
  AddContextOptions(command, flags.get());
  command->callback(
      [&cli, flags] { cli.action = [&cli, flags] { return RunContext(*flags, cli.terminal); }; });
}

}  // namespace headlong
