// `generate`: one prompt, its answer as it comes.
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cache/storage.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/generation.h"
#include "cli/head_map.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "cli/model_view.h"
#include "cli/prompt.h"
#include "cli/quantity.h"
#include "cli/reconnect.h"
#include "cli/target.h"

namespace headlong {
namespace {

struct GenerateFlags {
  TargetFlags target;
  PromptFlags prompt;
  SamplingFlags sampling;
  OutputFlag output;
  std::string request_id;
  double deadline_s = 0;
  double reconnect_s = 30;
  bool map = false;
};

// "41 tokens, 87.2 tokens/s; prompt 8,192 tokens in 1.9 s; cache 8.9 MiB of 128 MiB in full (7.0
// %)"
std::string ClosingLine(const v1::Finished& finished) {
  const v1::Usage& usage = finished.usage();
  const v1::Timing& timing = finished.timing();
  std::string line = absl::StrCat(FormatCount(usage.completion_tokens()), " tokens");
  if (usage.completion_tokens() > 1 && timing.decode_ms() > 0) {
    absl::StrAppend(&line,
                    absl::StrFormat(", %.1f tokens/s",
                                    1000 * (usage.completion_tokens() - 1) / timing.decode_ms()));
  }
  absl::StrAppend(&line, "; prompt ", FormatCount(usage.prompt_tokens()), " tokens in ",
                  FormatMillis(timing.prefill_ms()), "; cache ", FormatBytes(usage.cache_bytes()),
                  " of ", FormatBytes(usage.full_cache_bytes()), " in full");
  if (usage.full_cache_bytes() > 0) {
    absl::StrAppend(&line, " (",
                    FormatPercent(static_cast<double>(usage.cache_bytes()) /
                                  static_cast<double>(usage.full_cache_bytes())),
                    ")");
  }
  return line;
}

// The cache of every head as it stood at the last token.
absl::Status DrawMap(Client& client, const GenerationResult& result, const Terminal& terminal) {
  absl::StatusOr<v1::GetModelResponse> model = client.GetModel();
  if (!model.ok()) return model.status();
  const absl::StatusOr<Plan> plan = PlanOf(*model);
  if (!plan.ok()) return plan.status();
  const v1::Usage& usage = result.finished->usage();
  CacheMapParams params = CacheMapOf(*model);
  params.prompt_tokens = usage.prompt_tokens();
  params.length = CachedTokens(*plan, params, usage);
  const TerminalTraits& traits = terminal.traits();
  const MapStyle style{terminal.colours_stdout(), traits.utf8, traits.width};
  return PrintText(absl::StrCat("\n", DrawCacheMap(*plan, params, style)));
}

GenerationResult Stream(Client& client, const v1::GenerateRequest& request,
                        const GenerateFlags& flags, Terminal& terminal) {
  Progress progress(terminal, "prompt");
  absl::Status written;
  GenerationEvents events;
  events.progress = [&](const v1::Progress& update) {
    progress.Update({static_cast<double>(update.prefilled_tokens()),
                     static_cast<double>(update.prompt_tokens()),
                     absl::StrCat(FormatCount(update.prefilled_tokens()), " of ",
                                  FormatCount(update.prompt_tokens()), " tokens")});
  };
  if (!flags.output.json()) {
    events.text = [&](std::string_view text) {
      progress.Hide();
      written.Update(PrintText(text));
    };
  }
  ReconnectOptions options;
  options.deadline = std::chrono::milliseconds(static_cast<int64_t>(flags.deadline_s * 1000));
  // A cluster of our own does not come back.
  const double patience_s = flags.target.embedded() ? 0 : flags.reconnect_s;
  options.patience = std::chrono::milliseconds(static_cast<int64_t>(patience_s * 1000));
  options.lost = [&](size_t tokens) {
    progress.Hide();
    terminal.Line(
        absl::StrCat("lost the server after ", FormatCount(tokens), " tokens; trying to go on"));
  };
  GenerationResult result = GenerateAcrossRestarts(client, request, events, options);
  if (result.error.ok()) result.error = written;
  return result;
}

absl::Status ShowResult(Client& client, const GenerationResult& result, const GenerateFlags& flags,
                        Terminal& terminal) {
  if (flags.output.json()) return PrintJson(GenerationJson(result));
  // A prompt of the shell must not follow the answer's last word.
  absl::Status status;
  if (!result.text.empty() && !result.text.ends_with('\n')) status = PrintText("\n");
  if (!result.ok()) return status;
  if (terminal.traits().stderr_is_terminal) terminal.Line(ClosingLine(*result.finished));
  if (status.ok() && flags.map) status = DrawMap(client, result, terminal);
  return status;
}

ExitCode RunGenerate(const GenerateFlags& flags, Terminal& terminal) {
  v1::GenerateRequest request;
  if (const absl::Status prompt = SetPrompt(flags.prompt, &request); !prompt.ok()) {
    return Fail(prompt);
  }
  SetSampling(flags.sampling, &request);
  request.set_request_id(flags.request_id);
  request.set_report_progress(terminal.animates());

  const TargetOrExit opened = OpenTarget(flags.target, /*max_sequences=*/1, terminal);
  if (!opened.ok()) return opened.exit;
  Client& client = *opened.target.client;
  const GenerationResult result = Stream(client, request, flags, terminal);
  const absl::Status shown = ShowResult(client, result, flags, terminal);
  if (!result.ok()) return Fail(result.failure());
  return shown.ok() ? ExitCode::kOk : Fail(shown);
}

}  // namespace

void AddGenerateCommand(CommandLine& cli) {
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App* command = cli.app.add_subcommand("generate", "Answer one prompt");
  AddPromptFlags(command, &flags->prompt);
  AddSamplingFlags(command, &flags->sampling);
  command->add_option("--request-id", flags->request_id,
                      "Name of the request, for `requests list`, `trace` and `cancel`");
  command->add_option("--deadline", flags->deadline_s, "Give up after so many seconds")
      ->check(CheckPositive, "POSITIVE");
  command
      ->add_option("--reconnect", flags->reconnect_s,
                   "Seconds to try to go on when the server is lost in the middle of an answer")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  command->add_flag("--map", flags->map, "Draw the cache of every head below the answer");
  AddTargetFlags(command, &flags->target);
  AddOutputFlag(command, &flags->output);
  command->callback(
      [&cli, flags] { cli.action = [&cli, flags] { return RunGenerate(*flags, cli.terminal); }; });
}

}  // namespace headlong
