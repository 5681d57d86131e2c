// `bench needle`: how often a fact planted in a long text is found, and what the cache takes.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/generation.h"
#include "cli/hay_text.h"
#include "cli/interrupt.h"
#include "cli/needle.h"
#include "cli/parallel.h"
#include "cli/prompt.h"
#include "cli/quantity.h"
#include "cli/recall_map.h"
#include "cli/target.h"
#include "common/status.h"

namespace headlong {
namespace {

struct NeedleFlags {
  TargetFlags target;
  std::string task = "passkey";
  std::string lengths = "4096,8192";
  std::string depths;
  std::string hay;
  std::string file;
  std::string svg;
  bool map = false;
  int trials = 40;
  uint64_t seed = 1;
  int concurrency = 4;
  OutputFlag output;
};

struct Trial {
  int64_t length = 0;    // 0: of the user's own prompt, as it comes
  double depth_row = 0;  // of the report: as given, or the tenth that the drawn depth lies in
  NeedleCase asked;
  std::string own_prompt;
};

absl::StatusOr<std::vector<Trial>> DrawTrials(const NeedleFlags& flags) {
  ASSIGN_OR_RETURN(const std::vector<int64_t> lengths,
                   ParseIntegerList(flags.lengths, kMinNeedleLength, INT32_MAX));
  std::vector<std::optional<double>> depths{std::nullopt};
  if (!flags.depths.empty()) {
    ASSIGN_OR_RETURN(const std::vector<double> given, ParseFractionList(flags.depths));
    depths.assign(given.begin(), given.end());
  }
  std::vector<Trial> trials;
  for (const int64_t length : lengths) {
    for (size_t depth = 0; depth < depths.size(); ++depth) {
      for (int i = 0; i < flags.trials; ++i) {
        const int number = static_cast<int>(depth) * flags.trials + i;
        NeedleCase asked =
            DrawCase(NeedleTaskOf(flags.task), {flags.seed, length, number, depths[depth]});
        const double row = depths[depth].value_or(std::floor(asked.depth * 10) / 10);
        trials.push_back({length, row, std::move(asked), ""});
      }
    }
  }
  return trials;
}

absl::StatusOr<std::vector<Trial>> ReadTrials(const NeedleFlags& flags) {
  ASSIGN_OR_RETURN(const std::string text, ReadInput(flags.file, "--file"));
  ASSIGN_OR_RETURN(std::vector<OwnPrompt> prompts,
                   ParseOwnPrompts(text, absl::StrCat("--file ", flags.file)));
  std::vector<Trial> trials;
  for (OwnPrompt& own : prompts) {
    trials.push_back({0, -1, std::move(own.asked), std::move(own.prompt)});
  }
  return trials;
}

EncodeText ServerEncoder(Client& client) {
  return [&client](const std::string& text, bool special) { return client.Encode(text, special); };
}

// The trials of one run, taken by many threads.
class NeedleRun {
 public:
  NeedleRun(const std::vector<Trial>& trials, const Hay& hay, Client& client)
      : trials_(trials), hay_(hay), client_(client) {}

  void Work() {
    while (!stop_ && !Interrupted()) {
      const size_t index = next_.fetch_add(1);
      if (index >= trials_.size()) return;
      absl::StatusOr<NeedleOutcome> outcome = Run(trials_[index]);
      const std::lock_guard lock(mutex_);
      if (outcome.ok()) {
        outcomes_.push_back(*outcome);
      } else {
        status_.Update(outcome.status());
        stop_ = true;
      }
    }
  }

  struct Count {
    size_t done = 0;
    size_t correct = 0;
  };
  Count count() const ABSL_LOCKS_EXCLUDED(mutex_) {
    const std::lock_guard lock(mutex_);
    const auto correct =
        std::count_if(outcomes_.begin(), outcomes_.end(),
                      [](const NeedleOutcome& outcome) { return outcome.correct(); });
    return {outcomes_.size(), static_cast<size_t>(correct)};
  }
  absl::StatusOr<std::vector<NeedleOutcome>> outcomes() const ABSL_LOCKS_EXCLUDED(mutex_) {
    const std::lock_guard lock(mutex_);
    if (Interrupted()) return absl::CancelledError("interrupted");
    if (!status_.ok()) return status_;
    return outcomes_;
  }

 private:
  absl::StatusOr<v1::GenerateRequest> RequestOf(const Trial& trial) {
    v1::GenerateRequest request;
    request.set_temperature(0);
    request.set_max_tokens(trial.asked.answer_tokens);
    if (trial.length == 0) {
      request.set_text(trial.own_prompt);
      return request;
    }
    const EncodeText encode = ServerEncoder(client_);
    Hay own;
    if (!trial.asked.hay.empty()) {
      ASSIGN_OR_RETURN(own, ReadHay(trial.asked.hay, encode));
    }
    ASSIGN_OR_RETURN(
        const NeedlePrompt prompt,
        BuildNeedlePrompt(trial.asked.hay.empty() ? hay_ : own, trial.asked, trial.length, encode));
    request.mutable_token_ids()->mutable_ids()->Add(prompt.ids.begin(), prompt.ids.end());
    return request;
  }

  absl::StatusOr<NeedleOutcome> Run(const Trial& trial) {
    ASSIGN_OR_RETURN(const v1::GenerateRequest request, RequestOf(trial));
    const GenerationResult result =
        RunGeneration(client_, request, {}, std::chrono::milliseconds(0));
    RETURN_IF_ERROR(result.failure());
    const v1::Usage& usage = result.finished->usage();
    NeedleOutcome outcome;
    outcome.length = trial.length > 0 ? trial.length : LengthBucket(usage.prompt_tokens());
    outcome.depth = trial.depth_row;
    outcome.score = ScoreAnswer(trial.asked, result.text);
    outcome.cache_bytes = static_cast<int64_t>(usage.cache_bytes());
    outcome.full_cache_bytes = static_cast<int64_t>(usage.full_cache_bytes());
    outcome.prefill_ms = result.finished->timing().prefill_ms();
    return outcome;
  }

  const std::vector<Trial>& trials_;
  const Hay& hay_;
  Client& client_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> stop_{false};
  mutable std::mutex mutex_;
  std::vector<NeedleOutcome> outcomes_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

absl::Status PrintOutcomes(const NeedleFlags& flags, const std::vector<NeedleOutcome>& outcomes,
                           const Terminal& terminal) {
  const std::string task = flags.file.empty() ? flags.task : "file";
  const HeatMap map = RecallMap(NeedleCells(outcomes), absl::StrCat("recall: ", task));
  if (!flags.svg.empty()) RETURN_IF_ERROR(WriteText(flags.svg, HeatMapSvg(map), "--svg"));
  if (flags.output.json()) return PrintJson(NeedleJson(outcomes, task));
  const TerminalTraits& traits = terminal.traits();
  const MapStyle style{terminal.colours_stdout(), traits.utf8, traits.width};
  return PrintText(absl::StrCat(flags.map ? absl::StrCat(DrawHeatMap(map, style), "\n") : "",
                                NeedleText(outcomes)));
}

ExitCode RunNeedle(const NeedleFlags& flags, Terminal& terminal) {
  const bool own = !flags.file.empty();
  const absl::StatusOr<std::vector<Trial>> trials = own ? ReadTrials(flags) : DrawTrials(flags);
  if (!trials.ok()) {
    return own ? Fail(trials.status()) : FailUsage(std::string(trials.status().message()));
  }
  const absl::StatusOr<std::string> text =
      own ? std::string() : ReadHayText(flags.hay, flags.target.engine.model, "--hay");
  if (!text.ok()) return Fail(text.status());
  const TargetOrExit opened = OpenTarget(flags.target, flags.concurrency, terminal);
  if (!opened.ok()) return opened.exit;
  const absl::StatusOr<Hay> hay =
      own ? Hay() : ReadHay(*text, ServerEncoder(*opened.target.client));
  if (!hay.ok()) return Fail(hay.status());

  NeedleRun run(*trials, *hay, *opened.target.client);
  const size_t total = trials->size();
  RunOnThreads(
      std::min<size_t>(flags.concurrency, total), [&] { run.Work(); }, "needle",
      [&] {
        const NeedleRun::Count count = run.count();
        return ProgressState{
            static_cast<double>(count.done), static_cast<double>(total),
            absl::StrCat(count.done, " of ", total, " prompts, ", count.correct, " found")};
      },
      terminal);
  const absl::StatusOr<std::vector<NeedleOutcome>> outcomes = run.outcomes();
  if (!outcomes.ok()) return Fail(outcomes.status());
  const absl::Status printed = PrintOutcomes(flags, *outcomes, terminal);
  return printed.ok() ? ExitCode::kOk : Fail(printed);
}

void AddBenchNeedleCommand(CommandLine& cli, CLI::App* bench) {
  auto flags = std::make_shared<NeedleFlags>();
  CLI::App* command = bench->add_subcommand(
      "needle", "How often a fact planted in a long text is found, and what the cache takes");
  std::vector<std::string> tasks;
  for (const NeedleTaskName& task : kNeedleTasks) tasks.emplace_back(task.name);
  CLI::Option* task = command->add_option("--task", flags->task, "What is planted and asked for")
                          ->check(CLI::IsMember(std::move(tasks)))
                          ->capture_default_str();
  command
      ->add_option(
          "--file", flags->file,
          "Prompts of your own, one {\"prompt\",\"answer\"} per line; an answer, or each of "
          "a list, must stand in the text")
      ->excludes(task);
  command->add_option("--svg", flags->svg, "Write recall by length and depth as a picture");
  command->add_flag("--map", flags->map, "Draw recall by length and depth");
  command->add_option("--lengths", flags->lengths, "Prompt lengths in tokens, e.g. 4096,8192")
      ->capture_default_str();
  command->add_option("--trials", flags->trials, "Prompts of each length (and depth)")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option("--depths", flags->depths,
                      "Where to plant, as fractions: 0,0.5,1 (default: drawn for each prompt)");
  command->add_option("--hay", flags->hay, "Text to plant in (default: hay.txt of the model)");
  command->add_option("--seed", flags->seed, "The same seed, the same needles")
      ->capture_default_str();
  command->add_option("--concurrency", flags->concurrency, "Prompts in flight at once")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  AddTargetFlags(command, &flags->target);
  AddOutputFlag(command, &flags->output);
  command->callback(
      [&cli, flags] { cli.action = [&cli, flags] { return RunNeedle(*flags, cli.terminal); }; });
}

}  // namespace

void AddBenchCommand(CommandLine& cli) {
  CLI::App* bench = cli.app.add_subcommand("bench", "Measure a model, its plan, this machine");
  bench->require_subcommand(1);
  AddBenchNeedleCommand(cli, bench);
  AddBenchKernelsCommand(cli, bench);
  AddBenchContextCommand(cli, bench);
}

}  // namespace headlong
