// `plan import`, `export`, `diff` and `report`: plans as files, without a server.
#include <memory>
#include <optional>
#include <utility>

#include "cli/calibration_report.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/head_scores.h"
#include "cli/json_output.h"
#include "cli/model_output.h"
#include "cli/plan_diff.h"
#include "common/json.h"
#include "common/status.h"
#include "coordinator/calibration/evidence_json.h"

namespace headlong {
namespace {

struct ImportFlags {
  std::string format = "auto";
  std::string file;
  std::string model;
  std::optional<double> sparsity;
  int sinks = 4;
  int64_t window = 256;
  std::string compensation = "mean";
  std::string out;
};

struct ExportFlags {
  std::string format;
  std::string plan;
  std::string model;
  std::string out;
};

struct DiffFlags {
  std::string a;
  std::string b;
  std::string model;
  int64_t context = 0;
  std::string kv_cache_dtype = "bf16";
  OutputFlag output;
};

struct ReportFlags {
  std::string evidence;
  std::string out;
  std::string curve;
  std::string scores;
  OutputFlag output;
};

MapStyle StyleOf(const Terminal& terminal) {
  const TerminalTraits& traits = terminal.traits();
  return {terminal.colours_stdout(), traits.utf8, traits.width};
}

absl::Status PrintOrWrite(const std::string& path, const std::string& text) {
  return path.empty() ? PrintText(text) : WriteText(path, text, "--out");
}

ExitCode ExitOf(const absl::Status& status) { return status.ok() ? ExitCode::kOk : Fail(status); }

absl::Status Import(const ImportFlags& flags) {
  ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(flags.model));
  ASSIGN_OR_RETURN(const std::string text, ReadFile(flags.file));
  ScoreOptions options;
  options.sparsity = flags.sparsity;
  options.sinks = flags.sinks;
  options.window_tokens = flags.window;
  const bool none = flags.compensation == "none" || config.alibi();
  options.compensation = none ? Compensation::kNone : Compensation::kMean;
  options.format = HeadFormatOf(flags.format);
  options.q_heads = config.q_heads;
  ASSIGN_OR_RETURN(const Plan plan, PlanFromScores(text, PlanShapeOf(config), options, flags.file));
  return PrintOrWrite(flags.out, plan.ToJson() + "\n");
}

absl::Status Export(const ExportFlags& flags) {
  ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(flags.model));
  PlanShape shape = PlanShapeOf(config);
  shape.layer_windows.clear();  // a sliding window makes no head local
  ASSIGN_OR_RETURN(const Plan plan, Plan::Load(flags.plan, flags.model, shape));
  return PrintOrWrite(flags.out, HeadPattern(plan, HeadFormatOf(flags.format)));
}

ExitCode Diff(const DiffFlags& flags, const Terminal& terminal) {
  const absl::StatusOr<ModelConfig> config = ReadModelConfig(flags.model);
  if (!config.ok()) return Fail(config.status());
  const absl::StatusOr<Plan> a = Plan::Load(flags.a, flags.model, PlanShapeOf(*config));
  if (!a.ok()) return Fail(a.status());
  const absl::StatusOr<Plan> b = Plan::Load(flags.b, flags.model, PlanShapeOf(*config));
  if (!b.ok()) return Fail(b.status());
  const int64_t length = flags.context > 0 ? flags.context : config->max_context;
  const PlanDiff diff =
      DiffPlans(*a, *b, {config->head_dim, ElementBytes(flags.kv_cache_dtype), length, length});
  const absl::Status printed = flags.output.json()
                                   ? PrintJson(PlanDiffJson(diff))
                                   : PrintText(PlanDiffText(diff, StyleOf(terminal)));
  if (!printed.ok()) return Fail(printed);
  return diff.same() ? ExitCode::kOk : ExitCode::kConflict;
}

absl::Status Report(const ReportFlags& flags, const Terminal& terminal) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(flags.evidence));
  ASSIGN_OR_RETURN(const Evidence evidence, ParseEvidence(text, flags.evidence));
  if (!flags.out.empty()) {
    ASSIGN_OR_RETURN(const std::string html, ReportHtml(evidence));
    RETURN_IF_ERROR(WriteText(flags.out, html, "--out"));
  }
  if (!flags.curve.empty()) {
    ASSIGN_OR_RETURN(const std::string svg, CurveSvg(evidence));
    RETURN_IF_ERROR(WriteText(flags.curve, svg, "--curve"));
  }
  if (!flags.scores.empty()) {
    ASSIGN_OR_RETURN(const std::string svg, InductionSvg(evidence));
    RETURN_IF_ERROR(WriteText(flags.scores, svg, "--scores"));
  }
  if (flags.output.json()) return PrintJson(ReportJson(evidence));
  return PrintText(ReportText(evidence, StyleOf(terminal)));
}

void AddModelFileFlag(CLI::App* command, std::string* model) {
  command->add_option("--model", *model, "Model folder, or a config.json")->required();
}

void AddImport(CommandLine& cli, CLI::App* noun) {
  auto flags = std::make_shared<ImportFlags>();
  CLI::App* command = noun->add_subcommand("import", "A published head pattern as a plan file");
  command->add_option("FILE", flags->file, "The pattern")->required();
  command
      ->add_option("--format", flags->format,
                   "duo: DuoAttention's and LServe's full_attention_heads.tsv; razor: "
                   "RazorAttention's lists; kvzip: KVzip's head scores; auto: by what the file has")
      ->check(CLI::IsMember({"auto", "duo", "razor", "kvzip"}))
      ->capture_default_str();
  AddModelFileFlag(command, &flags->model);
  command
      ->add_option("--sparsity", flags->sparsity,
                   "Share of heads that become local, the lowest scores (default: those below 0.5)")
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--sinks", flags->sinks, "First tokens local heads keep")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("--window", flags->window, "Last tokens local heads keep")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  command
      ->add_option("--compensation", flags->compensation,
                   "mean: one token stands for what local heads dropped; none: nothing does")
      ->check(CLI::IsMember({"mean", "none"}))
      ->capture_default_str();
  command->add_option("--out", flags->out, "Where to write the plan (default: stdout)");
  command->callback([&cli, flags] { cli.action = [flags] { return ExitOf(Import(*flags)); }; });
}

void AddExport(CommandLine& cli, CLI::App* noun) {
  auto flags = std::make_shared<ExportFlags>();
  CLI::App* command = noun->add_subcommand(
      "export", "Which heads keep everything, in a published format (their windows are lost)");
  command
      ->add_option("--format", flags->format,
                   "duo and kvzip: a table of 0 and 1; razor: JSON lists")
      ->check(CLI::IsMember({"duo", "razor", "kvzip"}))
      ->required();
  command->add_option("--plan", flags->plan, "full, local, or a plan file")->required();
  AddModelFileFlag(command, &flags->model);
  command->add_option("--out", flags->out, "Where to write it (default: stdout)");
  command->callback([&cli, flags] { cli.action = [flags] { return ExitOf(Export(*flags)); }; });
}

void AddDiff(CommandLine& cli, CLI::App* noun) {
  auto flags = std::make_shared<DiffFlags>();
  CLI::App* command = noun->add_subcommand(
      "diff",
      "The heads that two plans treat differently, and what both take; exits with 6 when "
      "they differ");
  command->add_option("A", flags->a, "full, local, or a plan file")->required();
  command->add_option("B", flags->b, "full, local, or a plan file")->required();
  AddModelFileFlag(command, &flags->model);
  command
      ->add_option("--context", flags->context,
                   "Tokens to count bytes at (default: the model's context)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
  command->add_option("--kv-cache-dtype", flags->kv_cache_dtype, "Of keys and values")
      ->check(CLI::IsMember({"fp32", "bf16", "fp16"}))
      ->capture_default_str();
  AddOutputFlag(command, &flags->output);
  command->callback(
      [&cli, flags] { cli.action = [&cli, flags] { return Diff(*flags, cli.terminal); }; });
}

void AddReport(CommandLine& cli, CLI::App* noun) {
  auto flags = std::make_shared<ReportFlags>();
  CLI::App* command = noun->add_subcommand(
      "report", "What calibration measured and chose, as pictures and numbers");
  command->add_option("--evidence", flags->evidence, "What calibration wrote")->required();
  command->add_option("--out", flags->out, "Write all of it as one HTML page to this file");
  command->add_option("--curve", flags->curve, "Write KL over bytes as a picture (SVG)");
  command->add_option("--scores", flags->scores, "Write induction scores as a picture (SVG)");
  AddOutputFlag(command, &flags->output);
  command->callback([&cli, flags] {
    cli.action = [&cli, flags] { return ExitOf(Report(*flags, cli.terminal)); };
  });
}

}  // namespace

void AddPlanFileVerbs(CommandLine& cli, CLI::App* plan) {
  AddImport(cli, plan);
  AddExport(cli, plan);
  AddDiff(cli, plan);
  AddReport(cli, plan);
}

}  // namespace headlong
