// `calibrate`: finds the heads that need everything, and the best plan for a budget.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/calibration_choices.h"
#include "cli/calibration_report.h"
#include "cli/calibration_run.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/hay_text.h"
#include "cli/interrupt.h"
#include "cli/model_view.h"
#include "cli/prompt.h"
#include "cli/quantity.h"
#include "cli/scope_calibration.h"
#include "cli/target.h"
#include "common/json.h"
#include "common/sha256.h"
#include "common/status.h"
#include "coordinator/calibration/projections_file.h"
#include "model/config.h"

namespace headlong {
namespace {

constexpr ProbeDensity kDensity{32, 512};  // what the cluster is started for
constexpr int kFacts = 3;                  // planted and asked for
constexpr int kPaperIds = 2500;
const std::vector<int64_t> kNeedleLengths = {1024, 2048, 4096};  // of prompts for needle scores
const std::vector<double> kNeedleDepths = {0.1, 0.5, 0.9};
constexpr int kRoom = 128;  // tokens of questions and answers beyond a sequence's length

struct CalibrateFlags {
  TargetFlags target;
  std::string out;
  double budget = 0.25;
  double max_kl = 0;
  int64_t context = 0;
  std::string text;
  std::string ids;
  int64_t period = 0;
  int copies = 4;
  ChoiceFlags choices;
  bool windows_given = false, budget_given = false;
  int groups = 0;
  int64_t length = 1024;
  uint64_t seed = 1;
  bool scores_only = false;
  std::string evidence;
  std::string costs;
  std::string report;
  OutputFlag output;
};

// One array of ids, or an object that has one under "ids".
absl::StatusOr<std::vector<uint32_t>> ReadIds(const std::string& path) {
  ASSIGN_OR_RETURN(const Json json, ReadJsonFile(path));
  const Json& list = json.is_object() && json.contains("ids") ? json["ids"] : json;
  std::vector<uint32_t> ids;
  if (list.is_array()) {
    for (const Json& id : list) {
      if (!id.is_number_unsigned()) return absl::InvalidArgumentError(path + ": ids are numbers");
      ids.push_back(id.get<uint32_t>());
    }
  }
  if (ids.size() < 2) {
    return absl::InvalidArgumentError(absl::StrCat("--ids: ", path, " holds no list of ids"));
  }
  return ids;
}

absl::StatusOr<RepeatParams> Repeats(const CalibrateFlags& flags, const v1::GetModelResponse& model,
                                     const Hay& text) {
  RepeatParams params;
  params.copies = flags.copies;
  if (!flags.ids.empty()) {
    ASSIGN_OR_RETURN(params.ids, ReadIds(flags.ids));
    if (flags.period > std::ssize(params.ids)) {
      return absl::InvalidArgumentError(absl::StrCat("--period: must be at most ",
                                                     params.ids.size(), ", the ids of ", flags.ids,
                                                     ", is ", flags.period));
    }
    if (flags.period > 0) params.ids.resize(static_cast<size_t>(flags.period));
    return params;
  }
  params.start = text.bos;
  const int64_t most = (int64_t{model.max_context()} - 1 - std::ssize(text.bos)) / flags.copies;
  const int64_t period = std::min<int64_t>(flags.period > 0 ? flags.period : kPaperIds, most);
  if (period < 2) return absl::InvalidArgumentError("--copies: more than the context holds");
  params.ids = DrawIds(flags.seed, period, model.shape().vocab_size());
  return params;
}

// What a partial file must have been measured with.
std::string ParametersOf(const CalibrateFlags& flags, const std::string& text) {
  Sha256 hash;
  hash.Update(text);
  return absl::StrCat("text ", hash.HexDigest(), " ids ", flags.ids, " period ", flags.period,
                      " copies ", flags.copies, " length ", flags.length, " seed ", flags.seed,
                      " dtype ", flags.target.engine.dtype, " kv ",
                      flags.target.engine.kv_cache_dtype);
}

std::string PartialPath(const CalibrateFlags& flags) { return flags.out + ".partial"; }

// What an earlier run with the same texts measured: another budget needs nothing anew.
absl::Status TakeCosts(const CalibrateFlags& flags, Evidence& evidence) {
  if (flags.costs.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(flags.costs));
  ASSIGN_OR_RETURN(Evidence held, ParseEvidence(text, flags.costs));
  if (held.shape.model_fingerprint != evidence.shape.model_fingerprint) {
    return absl::InvalidArgumentError(
        absl::StrCat("--costs: ", flags.costs, " is of another model"));
  }
  if (held.element_bytes != evidence.element_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("--costs: ", flags.costs, " is of caches with ", held.element_bytes,
                     " bytes a number, these have ", evidence.element_bytes));
  }
  evidence.scores = std::move(held.scores);
  evidence.costs = std::move(held.costs);
  return absl::OkStatus();
}

// Parameters in the first line, evidence in the second.
void TakePartial(const CalibrateFlags& flags, const std::string& parameters, Evidence& evidence,
                 Terminal& terminal) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(PartialPath(flags), error)) return;
  const absl::StatusOr<std::string> text = ReadFile(PartialPath(flags));
  if (!text.ok()) return;
  const size_t line = text->find('\n');
  if (line == std::string::npos || text->substr(0, line) != parameters) return;
  const absl::StatusOr<Evidence> held = ParseEvidence(text->substr(line + 1), PartialPath(flags));
  if (!held.ok() || held->shape.model_fingerprint != evidence.shape.model_fingerprint) return;
  evidence.scores = held->scores;
  evidence.costs = held->costs;
  terminal.Line(absl::StrCat("going on where ", PartialPath(flags), " ends: ", held->costs.size(),
                             " choices are measured"));
}

absl::Status SavePartial(const CalibrateFlags& flags, const std::string& parameters,
                         const Evidence& evidence) {
  const std::string beside = PartialPath(flags) + ".tmp";
  RETURN_IF_ERROR(
      WriteText(beside, absl::StrCat(parameters, "\n", EvidenceJson(evidence), "\n"), "--out"));
  std::error_code error;
  std::filesystem::rename(beside, PartialPath(flags), error);
  return error ? absl::InvalidArgumentError(absl::StrCat("--out: ", error.message()))
               : absl::OkStatus();
}

Evidence EmptyEvidence(const CalibrateFlags& flags, const v1::GetModelResponse& model) {
  Evidence evidence;
  evidence.model = model.name();
  evidence.shape.layers = static_cast<int>(model.shape().layers());
  evidence.shape.kv_heads = static_cast<int>(model.shape().kv_heads());
  evidence.shape.model_fingerprint = model.shape().fingerprint();
  evidence.head_dim = static_cast<int>(model.shape().head_dim());
  evidence.element_bytes = ElementBytes(model.kv_cache_dtype());
  evidence.context = flags.context;
  return evidence;
}

std::string TimeLeft(std::chrono::steady_clock::time_point begin, double done, double total) {
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  if (done <= 0 || taken.count() < 1) return "";
  return absl::StrCat(", ", std::lround(taken.count() * (total - done) / done), " s left");
}

// plan.json has its projections in plan.projections.safetensors.
std::filesystem::path ProjectionsPath(const std::string& out) {
  return std::filesystem::path(out).replace_extension(".projections.safetensors");
}

absl::Status WriteResults(const CalibrateFlags& flags, const Plan& plan, const Evidence& evidence) {
  if (plan.projections() != nullptr) {
    RETURN_IF_ERROR(
        WriteText(ProjectionsPath(flags.out), ProjectionsFile(*plan.projections()), "--out"));
  }
  RETURN_IF_ERROR(WriteText(flags.out, plan.ToJson() + "\n", "--out"));
  if (!flags.evidence.empty()) {
    RETURN_IF_ERROR(WriteText(flags.evidence, EvidenceJson(evidence) + "\n", "--evidence"));
  }
  if (flags.report.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string page, ReportHtml(evidence));
  return WriteText(flags.report, page, "--report");
}

absl::Status PrintResults(const CalibrateFlags& flags, const Evidence& evidence,
                          const Terminal& terminal) {
  if (flags.output.json()) return PrintJson(ReportJson(evidence));
  const TerminalTraits& traits = terminal.traits();
  const MapStyle style{terminal.colours_stdout(), traits.utf8, traits.width};
  return PrintText(ReportText(evidence, style));
}

absl::Status CalibrateAlibi(const CalibrateFlags& flags, const Hay& hay, const EncodeText& encode,
                            Client& client, Terminal& terminal) {
  const std::string others = flags.choices.storage + flags.choices.rank + flags.ids + flags.costs;
  if (flags.budget_given || flags.max_kl > 0 || flags.groups > 0 || !others.empty()) {
    return absl::InvalidArgumentError(
        "--budget, --max-kl, --storage, --rank, --groups, --ids, --costs: the plan of a model with "
        "ALiBi follows from how far its heads see (docs/calibrate.md)");
  }
  ASSIGN_OR_RETURN(const v1::GetModelResponse model, client.GetModel());
  Evidence evidence = EmptyEvidence(flags, model);
  CalibrationProber prober(client, evidence.shape, static_cast<int>(model.shape().q_heads()));
  ASSIGN_OR_RETURN(const std::vector<MeasuredSequence> judging,
                   MakeMeasuredText(Halves(hay).second, {flags.seed, flags.context - kRoom, kFacts},
                                    kDensity, encode));
  RETURN_IF_ERROR(CalibrateByScopes(
      {flags.target.engine.model, flags.windows_given ? flags.choices.windows : "", flags.out,
       flags.evidence, flags.report, flags.scores_only, flags.target.engine.load_format == "dummy"},
      judging, prober, evidence));
  return PrintResults(flags, evidence, terminal);
}

// Those that the context holds, from both halves of the text.
absl::StatusOr<std::vector<CopyingPrompt>> NeedlePrompts(const CalibrateFlags& flags,
                                                         int64_t max_context, const Hay& hay,
                                                         const EncodeText& encode) {
  std::vector<int64_t> lengths = kNeedleLengths;
  std::erase_if(lengths, [&](int64_t length) { return length + kRoom > max_context; });
  return MakeCopyingPrompts(hay, flags.seed, lengths, kNeedleDepths, encode);
}

absl::Status Calibrate(const CalibrateFlags& flags, Client& client, Terminal& terminal) {
  ASSIGN_OR_RETURN(const std::string text,
                   ReadHayText(flags.text, flags.target.engine.model, "--text"));
  ASSIGN_OR_RETURN(const v1::GetModelResponse model, client.GetModel());
  const EncodeText encode = [&client](const std::string& words, bool special) {
    return client.Encode(words, special);
  };
  ASSIGN_OR_RETURN(const Hay hay, ReadHay(text, encode));
  ASSIGN_OR_RETURN(const ModelConfig config, LoadModelConfig(flags.target.engine.model));
  if (config.alibi()) return CalibrateAlibi(flags, hay, encode, client, terminal);
  CalibrationOptions options;
  options.share = flags.max_kl > 0 ? 0 : flags.budget;
  options.max_kl = flags.max_kl;
  RETURN_IF_ERROR(SetChoices(flags.choices, flags.length, model.shape().head_dim(), options));
  options.groups = flags.groups;
  options.seed = flags.seed;
  options.projections_file = ProjectionsPath(flags.out).filename();
  ASSIGN_OR_RETURN(options.repeats, Repeats(flags, model, hay));
  Evidence evidence = EmptyEvidence(flags, model);
  CalibrationProber prober(client, evidence.shape, static_cast<int>(model.shape().q_heads()));
  CalibrationTexts texts;
  ASSIGN_OR_RETURN(texts.copying, NeedlePrompts(flags, model.max_context(), hay, encode));
  if (flags.scores_only) {
    ASSIGN_OR_RETURN(evidence.scores, prober.Scores(options.repeats));
    RETURN_IF_ERROR(prober.AddNeedleScores(texts.copying, evidence.scores));
    RETURN_IF_ERROR(WriteText(flags.out, EvidenceJson(evidence) + "\n", "--out"));
    return PrintResults(flags, evidence, terminal);
  }
  const auto [first, second] = Halves(hay);
  ASSIGN_OR_RETURN(texts.choosing,
                   MakeMeasuredText(first, {flags.seed, flags.length, kFacts}, kDensity, encode));
  ASSIGN_OR_RETURN(
      texts.judging,
      MakeMeasuredText(second, {flags.seed + 1, flags.context - kRoom, kFacts}, kDensity, encode));
  const std::string parameters = ParametersOf(flags, text);
  RETURN_IF_ERROR(TakeCosts(flags, evidence));
  TakePartial(flags, parameters, evidence, terminal);

  CalibrationRun run(prober, options, texts, evidence);
  Progress bar(terminal, "calibrate");
  const auto begin = std::chrono::steady_clock::now();
  const absl::StatusOr<Plan> plan = run.Run(
      [&](double done, double total, const std::string& what) {
        bar.Update({done, total, absl::StrCat(what, TimeLeft(begin, done, total))});
      },
      [&](const Evidence& now) { return SavePartial(flags, parameters, now); }, Interrupted);
  bar.Hide();
  RETURN_IF_ERROR(plan.status());
  RETURN_IF_ERROR(WriteResults(flags, *plan, evidence));
  std::error_code ignored;
  std::filesystem::remove(PartialPath(flags), ignored);
  return PrintResults(flags, evidence, terminal);
}

ExitCode RunCalibrate(CalibrateFlags& flags, Terminal& terminal) {
  flags.target.engine.plan = "full";
  flags.target.engine.stripes = "off";  // a head's scores are summed up where all of it is
  flags.target.engine.max_sequences = kDensity.rows;
  flags.target.engine.max_batch_tokens = kDensity.tokens;
  const TargetOrExit opened = OpenTarget(flags.target, kDensity.rows, terminal);
  if (!opened.ok()) return opened.exit;
  const absl::Status done = Calibrate(flags, *opened.target.client, terminal);
  if (done.ok()) return ExitCode::kOk;
  std::error_code error;
  const bool kept = std::filesystem::exists(PartialPath(flags), error);
  if (absl::IsCancelled(done) && Interrupted() && kept) {
    terminal.Line(absl::StrCat("what was measured is in ", PartialPath(flags),
                               ": the same command goes on from there"));
  }
  return Fail(done);
}

}  // namespace

void AddCalibrateCommand(CommandLine& cli) {
  auto flags = std::make_shared<CalibrateFlags>();
  CLI::App* command = cli.app.add_subcommand(
      "calibrate", "Find the heads that need everything, and the best plan for a budget");
  command->add_option("--out", flags->out, "The plan; beside it FILE.partial while it runs")
      ->required();
  CLI::Option* budget =
      command->add_option("--budget", flags->budget, "Share of the full cache's bytes at --context")
          ->check(CLI::Range(0.0, 1.0))
          ->capture_default_str();
  command
      ->add_option("--max-kl", flags->max_kl,
                   "Instead: the fewest bytes of which the heads cost at most so many nats in all")
      ->check(CheckPositive, "POSITIVE")
      ->excludes(budget);
  flags->context = 8192;
  command
      ->add_option("--context", flags->context,
                   "Tokens that bytes are counted at, and the plan "
                   "is judged at")
      ->check(CLI::Range(int64_t{1024}, int64_t{1} << 30))
      ->capture_default_str();
  command->add_option("--text", flags->text, "Text to measure on (default: a novel)");
  command->add_option("--length", flags->length, "Tokens of the texts that heads are measured on")
      ->check(CLI::Range(int64_t{832}, int64_t{1} << 30))
      ->capture_default_str();
  AddChoiceFlags(command, &flags->choices);
  command
      ->add_option(
          "--groups", flags->groups,
          "So many groups of heads are made local together, too: evidence of whether costs "
          "add up")
      ->check(CLI::Range(0, 10000));
  command->add_option("--seed", flags->seed, "The same seed, the same plan")->capture_default_str();
  command->add_option("--ids", flags->ids,
                      "Ids to repeat for the scores, instead of random ones: "
                      "JSON; no start token");
  command->add_option("--period", flags->period, "Ids of one copy (default: 2500, or what fits)")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 24));
  command->add_option("--copies", flags->copies, "How often they are repeated")
      ->check(CLI::Range(2, 64))
      ->capture_default_str();
  command->add_flag("--scores-only", flags->scores_only,
                    "Nothing but scores (with ALiBi: scopes): --out is evidence, not a plan");
  command->add_option("--evidence", flags->evidence, "Write all that was measured, as JSON");
  command->add_option("--costs", flags->costs,
                      "Evidence of an earlier run on the same text: what it measured is not "
                      "measured again");
  command->add_option("--report", flags->report, "Write it as a page with pictures, HTML");
  // Epochs of its own: never a server that others use.
  AddEngineFlags(command, &flags->target.engine, /*embedded=*/true);
  AddLocalWorkerFlags(command, &flags->target.local, /*embedded=*/true);
  command->get_option("--model")->required();
  AddOutputFlag(command, &flags->output);
  command->callback([&cli, flags, command] {
    flags->windows_given = command->count("--windows") > 0;
    flags->budget_given = command->count("--budget") > 0;
    cli.action = [&cli, flags] { return RunCalibrate(*flags, cli.terminal); };
  });
}

}  // namespace headlong
