// `config`: the user's named servers.
#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "cli/admin_verb.h"
#include "cli/contexts.h"
#include "cli/table.h"
#include "common/json.h"
#include "common/name_rule.h"
#include "common/status.h"
#include "common/tls.h"

namespace headlong {
namespace {

struct ConfigFlags {
  FormatFlag format;
  std::string name;
  Context context;
  bool use = false;
  bool dry_run = false;
};

std::filesystem::path Path() { return ContextsPath(FromEnvironment); }

AdminView ViewOf(const Contexts& contexts) {
  AdminView view;
  view.json = ContextsJson(contexts);
  view.json["file"] = Path().string();
  Table table({"current", "name", "server", "TLS", "token"});
  Table wide({"current", "name", "server", "TLS", "authority", "token file"});
  for (const auto& [name, context] : contexts.by_name) {
    const std::string current = name == contexts.current ? "*" : "";
    const std::string tls = context.tls || !context.tls_ca.empty() ? "yes" : "no";
    table.Row({current, name, context.server, tls, context.token_file.empty() ? "no" : "yes"});
    wide.Row({current, name, context.server, tls, context.tls_ca, context.token_file});
    absl::StrAppend(&view.names, name, "\n");
  }
  view.table = table.Text();
  view.wide = absl::StrCat(wide.Text(), "file: ", Path().string(), "\n");
  return view;
}

absl::Status Print(const ConfigFlags& flags, const Contexts& contexts) {
  return PrintText(TextOf(ViewOf(contexts), flags.format));
}

absl::Status Save(const ConfigFlags& flags, const Contexts& contexts) {
  if (!flags.dry_run) RETURN_IF_ERROR(SaveContexts(Path(), contexts));
  return Print(flags, contexts);
}

absl::Status View(const ConfigFlags& flags) {
  ASSIGN_OR_RETURN(const Contexts contexts, LoadContexts(Path()));
  return Print(flags, contexts);
}

// Everything that a command would trip over when it uses the context.
absl::Status CheckContext(const std::string& name, const Context& context) {
  TlsFiles files;
  files.ca = context.tls_ca;
  RETURN_IF_ERROR(Annotate(CheckTlsFiles(files), absl::StrCat(name, ": tls_ca")));
  if (context.token_file.empty()) return absl::OkStatus();
  if (!context.tls && context.tls_ca.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": token_file: needs tls or tls_ca: no token crosses in the clear"));
  }
  return Annotate(ReadFile(context.token_file).status(), absl::StrCat(name, ": token_file"));
}

absl::Status Validate(const ConfigFlags& flags) {
  if (std::error_code error; !std::filesystem::exists(Path(), error)) {
    return absl::NotFoundError(
        absl::StrCat(Path().string(), ": is not there; `headlong config set` makes it"));
  }
  ASSIGN_OR_RETURN(const Contexts contexts, LoadContexts(Path()));
  for (const auto& [name, context] : contexts.by_name) {
    RETURN_IF_ERROR(Annotate(CheckContext(name, context), Path().string()));
  }
  return Print(flags, contexts);
}

absl::Status NoContext(const std::string& name) {
  return absl::NotFoundError(absl::StrCat(Path().string(), ": there is no context ", name));
}

absl::Status Use(const ConfigFlags& flags) {
  ASSIGN_OR_RETURN(Contexts contexts, LoadContexts(Path()));
  if (!contexts.by_name.contains(flags.name)) return NoContext(flags.name);
  contexts.current = flags.name;
  return Save(flags, contexts);
}

// A file's name as it holds wherever the command is started.
std::string Absolute(const std::string& file) {
  return file.empty() ? file : std::filesystem::absolute(file).lexically_normal().string();
}

absl::Status Set(const ConfigFlags& flags) {
  if (!IsName(flags.name)) {
    return absl::InvalidArgumentError(absl::StrCat("NAME: must match ", Av(kNameRule)));
  }
  ASSIGN_OR_RETURN(Contexts contexts, LoadContexts(Path()));
  Context& context = contexts.by_name[flags.name];
  if (!flags.context.server.empty()) context.server = flags.context.server;
  if (!flags.context.tls_ca.empty()) context.tls_ca = Absolute(flags.context.tls_ca);
  if (!flags.context.token_file.empty()) context.token_file = Absolute(flags.context.token_file);
  context.tls = context.tls || flags.context.tls;
  if (context.server.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--server: context ", flags.name, " is new"));
  }
  RETURN_IF_ERROR(CheckContext(flags.name, context));
  if (flags.use || contexts.by_name.size() == 1) contexts.current = flags.name;
  return Save(flags, contexts);
}

absl::Status Delete(const ConfigFlags& flags) {
  ASSIGN_OR_RETURN(Contexts contexts, LoadContexts(Path()));
  if (contexts.by_name.erase(flags.name) == 0) return NoContext(flags.name);
  if (contexts.current == flags.name) contexts.current.clear();
  return Save(flags, contexts);
}

using Verb = absl::Status (*)(const ConfigFlags&);

std::pair<CLI::App*, std::shared_ptr<ConfigFlags>> AddVerb(CommandLine& cli, CLI::App* noun,
                                                           const char* verb, const char* what,
                                                           Verb run) {
  auto flags = std::make_shared<ConfigFlags>();
  CLI::App* command = noun->add_subcommand(verb, what);
  AddFormatFlag(command, &flags->format);
  command->callback([&cli, flags, run] {
    cli.action = [flags, run] {
      const absl::Status status = run(*flags);
      return status.ok() ? ExitCode::kOk : Fail(status);
    };
  });
  return {command, flags};
}

// One that changes the context NAME.
std::pair<CLI::App*, std::shared_ptr<ConfigFlags>> AddChange(CommandLine& cli, CLI::App* noun,
                                                             const char* verb, const char* what,
                                                             Verb run) {
  const auto [command, flags] = AddVerb(cli, noun, verb, what, run);
  command->add_option("NAME", flags->name, "Of the context")->required()->type_name("CONTEXT");
  AddDryRunFlag(command, &flags->dry_run);
  return {command, flags};
}

}  // namespace

void AddConfigCommand(CommandLine& cli) {
  CLI::App* noun = cli.app.add_subcommand(
      "config", "Named servers: ~/.config/headlong/config.json, or $HEADLONG_CONFIG");
  noun->require_subcommand(1);
  AddVerb(cli, noun, "view", "The servers that have names, and which is in use", View);
  AddVerb(cli, noun, "validate", "Check the file and the files that it names", Validate);
  AddChange(cli, noun, "use", "Ask this server from now on", Use);
  AddChange(cli, noun, "delete", "Forget a server", Delete);
  const auto [set, flags] =
      AddChange(cli, noun, "set", "Name a server, or change what is known of it", Set);
  set->add_option("--server", flags->context.server, "Where it is")->check(CheckAddress);
  set->add_flag("--tls", flags->context.tls,
                "It speaks TLS; the system's authorities vouch for it");
  set->add_option("--tls-ca", flags->context.tls_ca, "It speaks TLS; this file vouches for it");
  set->add_option("--token-file", flags->context.token_file, "Holds the access token");
  set->add_flag("--use", flags->use, "Ask it from now on (the first one is used anyway)");
}

}  // namespace headlong
