// `placement show`, `plan` and `simulate`: which worker holds what, would hold what now, and would
// hold what in a cluster that is not at hand.
#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/cluster_file.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/head_scores.h"
#include "cli/model_output.h"
#include "cli/placement_output.h"
#include "cli/placement_picture.h"
#include "cli/target.h"
#include "common/json.h"
#include "common/status.h"
#include "coordinator/placement_report.h"

namespace headlong {
namespace {

struct PictureFlags {
  FormatFlag format;
  bool map = false;
  std::string svg;
};

struct RunningFlags {
  ServerFlags server;
  PictureFlags picture;
  int64_t context = 0;
  double concurrency = 0;
  std::vector<std::string> exclude;
  std::string objective;
};

struct SimulateFlags {
  std::string cluster;
  std::string model;
  std::string plan = "full";
  int64_t context = 0;
  double concurrency = 1;
  double prefill_share = 0;
  std::optional<double> sparsity;
  int sinks = 4;
  int64_t window = 256;
  std::string objective = "latency";
  std::string stripes = "auto";
  std::string dtype = "bf16";
  std::string kv_cache_dtype = "bf16";
  int max_batch_tokens = 512;
  PictureFlags picture;
};

void AddPictureFlags(CLI::App* command, PictureFlags* flags,
                     const std::vector<std::string>& more = {}) {
  AddFormatFlag(command, &flags->format, more);
  command->add_flag("--map", flags->map,
                    "Draw every head with the worker that holds it, memory and times");
  command->add_option("--svg", flags->svg, "Write the same as a picture to this file");
}

absl::Status Print(const PlacementView& view, const PictureFlags& flags, const Terminal& terminal) {
  if (!flags.svg.empty()) {
    RETURN_IF_ERROR(WriteText(flags.svg, PlacementSvg(view), "--svg"));
  }
  if (flags.format.json() || flags.format.format == "plan") {
    return PrintJson(PlacementJson(view.placement, view.report));
  }
  if (flags.format.name()) return PrintText(PlacementNames(view.placement));
  if (!flags.map) {
    return PrintText(PlacementText(view.placement, view.report, flags.format.wide()));
  }
  const TerminalTraits& traits = terminal.traits();
  const MapStyle style{terminal.colours_stdout(), traits.utf8, traits.width};
  return PrintText(absl::StrCat(DrawPlacementMap(view.placement, view.layers, view.kv_heads, style),
                                DrawPlacementBars(view, style)));
}

template <typename Response>
PlacementView ViewOf(const Response& response) {
  return {response.placement(), response.report(), static_cast<int>(response.layers()),
          static_cast<int>(response.kv_heads())};
}

absl::Status Show(const RunningFlags& flags, const Terminal& terminal) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, ConnectTo(flags.server));
  v1::GetPlacementRequest request;
  request.set_context(static_cast<uint64_t>(flags.context));
  request.set_concurrency(flags.concurrency);
  ASSIGN_OR_RETURN(const v1::GetPlacementResponse response, client->GetPlacement(request));
  return Print(ViewOf(response), flags.picture, terminal);
}

absl::Status PlanNow(const RunningFlags& flags, const Terminal& terminal) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, ConnectTo(flags.server));
  v1::PlanPlacementRequest request;
  for (const std::string& id : flags.exclude) request.add_exclude(id);
  request.set_objective(flags.objective);
  ASSIGN_OR_RETURN(const v1::PlanPlacementResponse response, client->PlanPlacement(request));
  return Print(ViewOf(response), flags.picture, terminal);
}

absl::StatusOr<Plan> PlanOfFlags(const SimulateFlags& flags, const ModelConfig& config) {
  const PlanShape shape = PlanShapeOf(config);
  if (flags.plan == "full" || flags.plan == "local" || flags.plan.ends_with(".json")) {
    return Plan::Load(flags.plan, "", shape);
  }
  ScoreOptions options;
  options.sparsity = flags.sparsity;
  options.sinks = flags.sinks;
  options.window_tokens = flags.window;
  options.q_heads = config.q_heads;
  if (config.alibi()) options.compensation = Compensation::kNone;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(flags.plan));
  ASSIGN_OR_RETURN(const Plan plan, PlanFromScores(text, shape, options, flags.plan));
  return plan.BoundedBy(config.layer_windows);
}

absl::Status Simulate(const SimulateFlags& flags, const Terminal& terminal) {
  ASSIGN_OR_RETURN(const SimulatedCluster cluster, ReadClusterFile(flags.cluster));
  ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(flags.model));
  ASSIGN_OR_RETURN(const Plan plan, PlanOfFlags(flags, config));
  PlacementProblem problem;
  problem.config = &config;
  problem.plan = &plan;
  problem.workers = cluster.workers;
  problem.link = cluster.link;
  problem.max_context = flags.context;
  problem.max_sequences = problem.required_sequences =
      static_cast<int>(std::ceil(flags.concurrency));
  problem.max_batch_tokens = flags.max_batch_tokens;
  problem.weight_element_bytes = problem.embedding_element_bytes = flags.dtype == "fp32" ? 4 : 2;
  problem.cache_element_bytes = ElementBytes(flags.kv_cache_dtype);
  problem.stripes = flags.stripes != "off";
  problem.level_speeds = false;  // what is stated is meant
  problem.workload = {flags.context, flags.concurrency, flags.prefill_share};
  problem.objective = flags.objective == "capacity" ? Objective::kCapacity : Objective::kLatency;
  if (problem.objective == Objective::kCapacity) {
    problem.max_sequences = std::max(problem.max_sequences, LargestConcurrency(problem));
  }
  PlacementView view;
  view.layers = config.layers;
  view.kv_heads = config.kv_heads;
  ASSIGN_OR_RETURN(view.placement, Place(problem));
  view.report = FullReport(problem, view.placement);
  return Print(view, flags.picture, terminal);
}

void AddSimulateFlags(CLI::App* command, SimulateFlags* flags) {
  command->add_option("--cluster", flags->cluster, "The cluster, as JSON")->required();
  command->add_option("--model", flags->model, "Model folder, or a config.json")->required();
  command
      ->add_option("--plan", flags->plan,
                   "full, local, a plan file (.json), or a table of head scores")
      ->capture_default_str();
  command->add_option("--context", flags->context, "Tokens of every sequence")
      ->required()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
  command->add_option("--concurrency", flags->concurrency, "Sequences at once")
      ->check(CLI::Range(1.0, 65536.0))
      ->capture_default_str();
  command
      ->add_option("--prefill-share", flags->prefill_share,
                   "How much of a step's --max-batch-tokens is prompt")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--max-batch-tokens", flags->max_batch_tokens, "Most tokens of one step")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command
      ->add_option("--sparsity", flags->sparsity,
                   "Of head scores: the share of heads that become local (default: those below "
                   "0.5)")
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--sinks", flags->sinks, "Of head scores: first tokens local heads keep")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("--window", flags->window, "Of head scores: last tokens local heads keep")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31))
      ->capture_default_str();
  command
      ->add_option("--objective", flags->objective,
                   "latency: the fastest step; capacity: the most sequences, then that")
      ->check(CLI::IsMember({"latency", "capacity"}))
      ->capture_default_str();
  command->add_option("--stripes", flags->stripes, "Whether heads may be split over workers")
      ->check(CLI::IsMember({"auto", "off"}))
      ->capture_default_str();
  command->add_option("--dtype", flags->dtype, "Of weights")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
  command->add_option("--kv-cache-dtype", flags->kv_cache_dtype, "Of keys and values")
      ->check(CLI::IsMember({"fp32", "bf16", "fp16"}))
      ->capture_default_str();
  AddPictureFlags(command, &flags->picture);
}

template <typename Flags>
void SetAction(CommandLine& cli, CLI::App* command, const std::shared_ptr<Flags>& flags,
               absl::Status (*run)(const Flags&, const Terminal&)) {
  command->callback([&cli, flags, run] {
    cli.action = [&cli, flags, run] {
      const absl::Status status = run(*flags, cli.terminal);
      return status.ok() ? ExitCode::kOk : Fail(status);
    };
  });
}

}  // namespace

void AddPlacementCommand(CommandLine& cli) {
  CLI::App* noun = cli.app.add_subcommand("placement", "Which worker holds which heads");
  noun->require_subcommand(1);
  auto shown = std::make_shared<RunningFlags>();
  CLI::App* show = noun->add_subcommand("show", "The placement in force");
  AddServerFlags(show, &shown->server);
  show->add_option("--for-context", shown->context,
                   "Model its step for sequences of so many tokens (default: the server's most)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
  show->add_option("--for-concurrency", shown->concurrency,
                   "Model its step for so many sequences (default: as many as fit)")
      ->check(CLI::Range(1.0, 65536.0));
  AddPictureFlags(show, &shown->picture);
  SetAction(cli, show, shown, Show);

  auto planned = std::make_shared<RunningFlags>();
  CLI::App* plan = noun->add_subcommand("plan", "What would be placed now; changes nothing");
  AddServerFlags(plan, &planned->server);
  plan->add_option("--exclude", planned->exclude, "Workers to leave out, by id")->delimiter(',');
  plan->add_option("--objective", planned->objective, "latency or capacity (default: the server's)")
      ->check(CLI::IsMember({"latency", "capacity"}));
  AddPictureFlags(plan, &planned->picture, {"plan"});
  SetAction(cli, plan, planned, PlanNow);
  AddPlacementApply(cli, noun);
  AddPlacementPast(cli, noun);

  auto simulated = std::make_shared<SimulateFlags>();
  CLI::App* simulate =
      noun->add_subcommand("simulate", "The placement on a cluster that is not at hand");
  AddSimulateFlags(simulate, simulated.get());
  SetAction(cli, simulate, simulated, Simulate);
}

}  // namespace headlong
