// `tokenize` and `detokenize`: by a model's tokenizer on this machine, or by a server's.
#include <functional>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/json_output.h"
#include "cli/local_cluster.h"
#include "cli/prompt.h"
#include "cli/quantity.h"
#include "cli/target.h"
#include "common/json.h"
#include "common/status.h"
#include "model/tokenizer.h"

namespace headlong {
namespace {

struct TokenizeFlags {
  ServerFlags server;
  std::string model;
  std::string tokenizer;
  std::optional<std::string> text;
  std::optional<std::string> file;
  std::optional<std::string> jsonl;
  bool special = false;
  OutputFlag output{"json"};
};

using Ids = std::vector<TokenId>;

// A tokenizer, here or on a server.
class TokenizerClient {
 public:
  static absl::StatusOr<TokenizerClient> Open(const TokenizeFlags& flags) {
    TokenizerClient client;
    if (!flags.model.empty()) RETURN_IF_ERROR(CheckModelFolder(flags.model));
    const std::string& path = flags.tokenizer.empty() ? flags.model : flags.tokenizer;
    if (path.empty()) {
      ASSIGN_OR_RETURN(client.server_, ConnectTo(flags.server));
    } else {
      ASSIGN_OR_RETURN(client.local_, LoadTokenizer(path));
    }
    return client;
  }

  absl::StatusOr<Ids> Encode(const std::string& text, bool special) const {
    return local_ ? local_->Encode(text, special) : server_->Encode(text, special);
  }
  absl::StatusOr<std::string> Decode(const Ids& ids, bool special) const {
    return local_ ? local_->Decode(ids, special) : server_->Decode(ids, special);
  }

 private:
  std::unique_ptr<Tokenizer> local_;
  std::unique_ptr<Client> server_;
};

// Calls `each` with every line of a JSONL text; empty lines are skipped.
absl::Status ForEachLine(const std::string& text, const std::string& source,
                         const std::function<absl::Status(const Json&, const std::string&)>& each) {
  size_t begin = 0;
  for (int number = 1; begin < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line(text.data() + begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string what = absl::StrCat(source, " line ", number);
    ASSIGN_OR_RETURN(const Json json, ParseJson(line, what));
    RETURN_IF_ERROR(each(json, what));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadGiven(const TokenizeFlags& flags) {
  if (flags.text) return *flags.text;
  return flags.file ? ReadInput(*flags.file, "--file") : ReadInput(*flags.jsonl, "--jsonl");
}

std::string SourceOf(const TokenizeFlags& flags) {
  if (flags.text) return "--text";
  return flags.file ? absl::StrCat("--file ", *flags.file) : absl::StrCat("--jsonl ", *flags.jsonl);
}

absl::Status Tokenize(const TokenizeFlags& flags) {
  ASSIGN_OR_RETURN(const std::string input, ReadGiven(flags));
  RETURN_IF_ERROR(CheckUtf8(input, SourceOf(flags)));
  ASSIGN_OR_RETURN(const TokenizerClient tokenizer, TokenizerClient::Open(flags));
  if (!flags.jsonl) {
    ASSIGN_OR_RETURN(const Ids ids, tokenizer.Encode(input, flags.special));
    return flags.output.json() ? PrintJson({{"token_ids", ids}})
                               : PrintText(absl::StrCat(absl::StrJoin(ids, " "), "\n"));
  }
  return ForEachLine(input, SourceOf(flags), [&](const Json& line, const std::string& what) {
    if (!line.is_string()) {
      return absl::InvalidArgumentError(absl::StrCat(what, ": is not a JSON string"));
    }
    const absl::StatusOr<Ids> ids = tokenizer.Encode(line.get<std::string>(), flags.special);
    return ids.ok() ? PrintJson(*ids) : Annotate(ids.status(), what);
  });
}

absl::Status Detokenize(const TokenizeFlags& flags) {
  ASSIGN_OR_RETURN(const std::string input, ReadGiven(flags));
  ASSIGN_OR_RETURN(const TokenizerClient tokenizer, TokenizerClient::Open(flags));
  if (!flags.jsonl) {
    ASSIGN_OR_RETURN(const Ids ids, ParseTokenIds(input, SourceOf(flags)));
    ASSIGN_OR_RETURN(const std::string text, tokenizer.Decode(ids, flags.special));
    return flags.output.json() ? PrintJson({{"text", text}}) : PrintText(text);
  }
  return ForEachLine(
      input, SourceOf(flags), [&](const Json& line, const std::string& what) -> absl::Status {
        if (!line.is_array()) {
          return absl::InvalidArgumentError(absl::StrCat(what, ": is not a JSON array of ids"));
        }
        ASSIGN_OR_RETURN(const Ids ids, ParseTokenIds(line.dump(), what));
        const absl::StatusOr<std::string> text = tokenizer.Decode(ids, flags.special);
        return text.ok() ? PrintJson(*text) : Annotate(text.status(), what);
      });
}

void AddCommand(CommandLine& cli, const char* name, const char* what, const char* special,
                absl::Status (*run)(const TokenizeFlags&)) {
  auto flags = std::make_shared<TokenizeFlags>();
  CLI::App* command = cli.app.add_subcommand(name, what);
  AddServerFlags(command, &flags->server);
  CLI::Option* model = command->add_option("--model", flags->model, "Use this model's tokenizer");
  command->add_option("--tokenizer", flags->tokenizer, "Use this tokenizer.json or .model")
      ->excludes(model);
  CLI::Option_group* input = command->add_option_group("Input");
  input->add_option("--text", flags->text, "The input itself");
  input->add_option("--file", flags->file, "Read it from a file; -: standard input");
  input->add_option("--jsonl", flags->jsonl, "One input per line, as JSON");
  input->require_option(1);
  command->add_flag("--special", flags->special, special);
  AddOutputFlag(command, &flags->output);
  command->callback([&cli, flags, run] {
    cli.action = [flags, run] {
      const absl::Status status = run(*flags);
      return status.ok() ? ExitCode::kOk : Fail(status);
    };
  });
}

}  // namespace

void AddTokenizeCommands(CommandLine& cli) {
  AddCommand(cli, "tokenize", "Text to token ids", "Add the special tokens of the model's template",
             Tokenize);
  AddCommand(cli, "detokenize", "Token ids to text", "Keep special tokens in the text", Detokenize);
}

}  // namespace headlong
