// `completion`: the script of a shell; and what that script asks while somebody types.
#include <chrono>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "cli/commands.h"
#include "cli/completion.h"
#include "cli/contexts.h"
#include "cli/json_output.h"
#include "cli/target.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr std::chrono::milliseconds kPatience{1000};  // of somebody who pressed a key

std::string Typed(const Completions& completions, const std::string& option) {
  const auto found = completions.options.find(option);
  return found == completions.options.end() ? "" : found->second;
}

// The server that the words so far would ask.
absl::StatusOr<std::unique_ptr<Client>> ConnectBriefly(const Completions& completions) {
  ServerFlags flags;
  flags.address = Typed(completions, "--server");
  flags.context = Typed(completions, "--context");
  flags.files.ca = Typed(completions, "--tls-ca");
  flags.token_file = Typed(completions, "--token-file");
  flags.tls = !Typed(completions, "--tls").empty();
  ASSIGN_OR_RETURN(const ServerFlags server, ResolveServer(flags));
  ASSIGN_OR_RETURN(ClientOptions options, ClientOptionsFrom(server));
  options.connect_timeout = options.call_timeout = kPatience;
  return Client::Connect(options);
}

absl::StatusOr<std::vector<std::string>> OpenValues(const Completions& completions) {
  std::vector<std::string> values;
  if (completions.open == OpenValue::kContext) {
    ASSIGN_OR_RETURN(const Contexts contexts, LoadContexts(ContextsPath(FromEnvironment)));
    for (const auto& [name, context] : contexts.by_name) values.push_back(name);
  }
  if (completions.open == OpenValue::kWorker) {
    ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, ConnectBriefly(completions));
    ASSIGN_OR_RETURN(const v1::ListWorkersResponse workers, client->ListWorkers());
    for (const v1::Worker& worker : workers.workers()) values.push_back(worker.id());
  }
  if (completions.open == OpenValue::kRequest) {
    ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, ConnectBriefly(completions));
    ASSIGN_OR_RETURN(const v1::ListRequestsResponse requests, client->ListRequests());
    for (const auto& request : requests.requests()) values.push_back(request.request_id());
  }
  return values;
}

}  // namespace

ExitCode PrintCompletions(const CLI::App& app, const std::vector<std::string>& words) {
  Completions completions = Complete(app, words);
  const std::string typed = words.empty() ? "" : words.back().substr(completions.prefix.size());
  // Without an answer of the server there is nothing to offer, which is no error here.
  const auto values = OpenValues(completions);
  for (const std::string& value : values.ok() ? *values : std::vector<std::string>()) {
    if (absl::StartsWith(value, typed)) {
      completions.candidates.push_back({completions.prefix + value, ""});
    }
  }
  std::string text;
  for (const Candidate& candidate : completions.candidates) {
    const std::string line = absl::StrReplaceAll(candidate.description, {{"\n", " "}});
    absl::StrAppend(&text, candidate.word, line.empty() ? "" : "\t", line, "\n");
  }
  if (completions.open == OpenValue::kFile) text += ":files\n";
  const absl::Status printed = PrintText(text);
  return printed.ok() ? ExitCode::kOk : Fail(printed);
}

void AddCompletionCommand(CommandLine& cli) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command =
      cli.app.add_subcommand("completion", "Print a script that completes commands in a shell");
  command->add_option("shell", *shell, "Which one")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([&cli, shell] {
    cli.action = [shell] {
      const absl::StatusOr<std::string> script = CompletionScript(*shell);
      const absl::Status printed = script.ok() ? PrintText(*script) : script.status();
      return printed.ok() ? ExitCode::kOk : Fail(printed);
    };
  });
}

}  // namespace headlong
