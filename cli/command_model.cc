// `model info|verify` and `plan show`: of a server, or of a model folder on this machine.
#include <map>
#include <memory>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/local_cluster.h"
#include "cli/model_output.h"
#include "cli/model_verify.h"
#include "cli/model_view.h"
#include "cli/quantity.h"
#include "cli/target.h"
#include "common/json.h"
#include "common/status.h"

namespace headlong {
namespace {

struct ModelFlags {
  ServerFlags server;
  std::string model;
  std::string plan;
  std::string lengths;
  std::string kv_cache_dtype = "bf16";  // of offline sizes
  OutputFlag output;
};

absl::StatusOr<ModelView> ViewOf(const ModelFlags& flags) {
  ModelView view;
  if (flags.model.empty()) {
    ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, ConnectTo(flags.server));
    ASSIGN_OR_RETURN(view.model, client->GetModel());
    view.served = true;
    return view;
  }
  RETURN_IF_ERROR(CheckModelFolder(flags.model));
  ASSIGN_OR_RETURN(OfflineModel offline, OpenModelFolder(flags.model, flags.plan));
  view.model = std::move(offline.description);
  view.weights_bytes = offline.weights_bytes;
  return view;
}

absl::Status ShowModel(const ModelFlags& flags, const Terminal&) {
  ASSIGN_OR_RETURN(const ModelView view, ViewOf(flags));
  return flags.output.json() ? PrintJson(ModelJson(view)) : PrintText(ModelText(view));
}

absl::Status ShowPlan(const ModelFlags& flags, const Terminal& terminal) {
  ASSIGN_OR_RETURN(const ModelView model, ViewOf(flags));
  PlanView view;
  ASSIGN_OR_RETURN(view.plan, PlanOf(model.model));
  view.head_dim = static_cast<int>(model.model.shape().head_dim());
  view.kv_cache_dtype = model.served ? model.model.kv_cache_dtype() : flags.kv_cache_dtype;
  const int64_t context =
      model.served ? model.model.max_context() : model.model.shape().max_context();
  view.lengths = DefaultLengths(context);
  if (!flags.lengths.empty()) {
    ASSIGN_OR_RETURN(view.lengths, ParseIntegerList(flags.lengths, 1, INT32_MAX));
  }
  const TerminalTraits& traits = terminal.traits();
  const MapStyle style{terminal.colours_stdout(), traits.utf8, traits.width};
  return flags.output.json() ? PrintJson(PlanJson(view)) : PrintText(PlanText(view, style));
}

struct VerifyFlags {
  std::string model;
  std::string sums;
  OutputFlag output;
};

absl::StatusOr<ExitCode> Verify(const VerifyFlags& flags, Terminal& terminal) {
  RETURN_IF_ERROR(CheckModelFolder(flags.model));
  std::map<std::string, std::string> sums;
  if (!flags.sums.empty()) {
    ASSIGN_OR_RETURN(const std::string text, ReadFile(flags.sums));
    ASSIGN_OR_RETURN(sums, ParseSums(text, flags.sums));
  }
  ASSIGN_OR_RETURN(const VerifiedModel model, VerifyModel(flags.model, sums, terminal));
  RETURN_IF_ERROR(flags.output.json() ? PrintJson(VerifyJson(model))
                                      : PrintText(VerifyText(model)));
  return model.ok() ? ExitCode::kOk : ExitCode::kFailed;
}

void AddModelVerify(CommandLine& cli, CLI::App* noun) {
  auto flags = std::make_shared<VerifyFlags>();
  CLI::App* command = noun->add_subcommand(
      "verify", "Read all weights: hash of every file, every tensor's shape, every number finite");
  command->add_option("--model", flags->model, "Model folder")->required();
  command->add_option("--sums", flags->sums,
                      "What the hashes must be: lines of hash and file, as sha256sum writes them");
  AddOutputFlag(command, &flags->output);
  command->callback([&cli, flags] {
    cli.action = [&cli, flags] {
      const absl::StatusOr<ExitCode> code = Verify(*flags, cli.terminal);
      return code.ok() ? *code : Fail(code.status());
    };
  });
}

std::string CheckLengths(const std::string& text) {
  const auto lengths = ParseIntegerList(text, 1, INT32_MAX);
  return lengths.ok() ? "" : std::string(lengths.status().message());
}

CLI::App* AddVerb(CommandLine& cli, CLI::App* noun, const char* verb, const char* what,
                  const std::shared_ptr<ModelFlags>& flags,
                  absl::Status (*run)(const ModelFlags&, const Terminal&)) {
  CLI::App* command = noun->add_subcommand(verb, what);
  AddServerFlags(command, &flags->server);
  command->add_option("--model", flags->model,
                      "A model folder on this machine, instead of a server");
  AddOutputFlag(command, &flags->output);
  command->callback([&cli, flags, run] {
    cli.action = [&cli, flags, run] {
      const absl::Status status = run(*flags, cli.terminal);
      return status.ok() ? ExitCode::kOk : Fail(status);
    };
  });
  return command;
}

}  // namespace

void AddModelCommand(CommandLine& cli) {
  CLI::App* noun = cli.app.add_subcommand("model", "The model behind a server, or in a folder");
  noun->require_subcommand(1);
  AddVerb(cli, noun, "info", "Its shape, size and plan", std::make_shared<ModelFlags>(), ShowModel);
  AddModelVerify(cli, noun);
}

void AddPlanCommand(CommandLine& cli) {
  CLI::App* noun = cli.app.add_subcommand("plan", "Which head gets which cache");
  noun->require_subcommand(1);
  auto flags = std::make_shared<ModelFlags>();
  CLI::App* command =
      AddVerb(cli, noun, "show", "Every head's policy, and what a sequence takes", flags, ShowPlan);
  CLI::Option* model = command->get_option("--model");
  command
      ->add_option("--plan", flags->plan,
                   "full, local, or a plan file (default: plan.json of the model, else full)")
      ->needs(model);
  command
      ->add_option("--kv-cache-dtype", flags->kv_cache_dtype,
                   "Type of the cache: fp32, bf16 or fp16")
      ->capture_default_str()
      ->check(CLI::IsMember({"fp32", "bf16", "fp16"}))
      ->needs(model);
  command->add_option("--lengths", flags->lengths, "Sequence lengths to show, e.g. 4096,32768")
      ->check(CheckLengths);
  AddPlanFileVerbs(cli, noun);
}

}  // namespace headlong
