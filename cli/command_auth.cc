// `auth`: the file of access tokens that a coordinator takes from clients.
#include <openssl/rand.h>

#include <filesystem>
#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/json_output.h"
#include "cli/private_file.h"
#include "common/access_tokens.h"
#include "common/json.h"
#include "common/name_rule.h"
#include "common/sha256.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr int kTokenBytes = 32;

struct AuthFlags {
  std::filesystem::path file;
  std::string name;
  std::string scopes = "infer";
  OutputFlag output;
};

// The text of a token file; empty where there is none yet. Errors name a line that is wrong.
absl::StatusOr<std::string> ReadTokens(const std::filesystem::path& file, bool must_exist) {
  if (!must_exist && !std::filesystem::exists(file)) return std::string();
  ASSIGN_OR_RETURN(std::string text, ReadFile(file));
  RETURN_IF_ERROR(ParseTokens(text, file.string()).status());
  return text;
}

std::string NameIn(const std::string& line) {
  const std::vector<std::string> words =
      absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
  return words.empty() || words[0][0] == '#' ? "" : words[0];
}

absl::Status Create(const AuthFlags& flags) {
  ASSIGN_OR_RETURN(std::string text, ReadTokens(flags.file, /*must_exist=*/false));
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    if (NameIn(line) == flags.name) {
      return absl::AlreadyExistsError(
          absl::StrCat(flags.file.string(), ": ", flags.name, " has a token already"));
    }
  }
  unsigned char random[kTokenBytes];
  if (RAND_bytes(random, sizeof(random)) != 1) return absl::InternalError("no random numbers");
  std::string token;
  absl::WebSafeBase64Escape(
      absl::string_view(reinterpret_cast<const char*>(random), sizeof(random)), &token);
  Sha256 hash;
  hash.Update(token);
  if (!text.empty() && text.back() != '\n') text += '\n';
  absl::StrAppend(&text, flags.name, " ", flags.scopes, " ", hash.HexDigest(), "\n");
  RETURN_IF_ERROR(ParseTokens(text, "--scopes").status());
  RETURN_IF_ERROR(WritePrivateFile(flags.file.string(), text, /*replace=*/true));
  return PrintText(token + "\n");  // the file keeps its hash alone
}

absl::Status Revoke(const AuthFlags& flags) {
  ASSIGN_OR_RETURN(const std::string text, ReadTokens(flags.file, /*must_exist=*/true));
  std::string rest;
  bool found = false;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    if (NameIn(line) == flags.name) {
      found = true;
    } else if (!line.empty()) {
      absl::StrAppend(&rest, line, "\n");
    }
  }
  if (!found) {
    return absl::NotFoundError(
        absl::StrCat(flags.file.string(), ": ", flags.name, " has no token"));
  }
  return WritePrivateFile(flags.file.string(), rest, /*replace=*/true);
}

absl::Status List(const AuthFlags& flags) {
  ASSIGN_OR_RETURN(const std::string text, ReadTokens(flags.file, /*must_exist=*/true));
  OutputJson json = OutputJson::array();
  std::string lines;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    if (NameIn(line).empty()) continue;
    const std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    json.push_back({{"name", words[0]}, {"scopes", absl::StrSplit(words[1], ',')}});
    absl::StrAppend(&lines, words[0], "  ", words[1], "\n");
  }
  return flags.output.json() ? PrintJson(json) : PrintText(lines);
}

CLI::App* AddVerb(CommandLine& cli, CLI::App* noun, const char* verb, const char* what,
                  absl::Status (*run)(const AuthFlags&), std::shared_ptr<AuthFlags>* flags) {
  *flags = std::make_shared<AuthFlags>();
  CLI::App* command = noun->add_subcommand(verb, what);
  command->add_option("FILE", (*flags)->file, "As --access-tokens of the coordinator")->required();
  command->callback([&cli, flags = *flags, run] {
    cli.action = [flags, run] {
      const absl::Status done = run(*flags);
      return done.ok() ? ExitCode::kOk : Fail(done);
    };
  });
  return command;
}

void AddName(CLI::App* command, AuthFlags& flags) {
  command->add_option("NAME", flags.name, "Whose token it is")
      ->required()
      ->check([](const std::string& name) {
        return IsName(name) ? std::string() : absl::StrCat("must match ", Av(kNameRule));
      });
}

}  // namespace

void AddAuthCommand(CommandLine& cli) {
  CLI::App* noun = cli.app.add_subcommand("auth", "Access tokens of clients");
  noun->require_subcommand(1);
  std::shared_ptr<AuthFlags> flags;
  CLI::App* command =
      AddVerb(cli, noun, "create", "Add a token; it is printed once", Create, &flags);
  AddName(command, *flags);
  command
      ->add_option("--scopes", flags->scopes,
                   "infer (prompts), read (the cluster), admin (read, and change it)")
      ->capture_default_str();
  command = AddVerb(cli, noun, "revoke", "Remove a token; servers notice within a second", Revoke,
                    &flags);
  AddName(command, *flags);
  command = AddVerb(cli, noun, "list", "Who has tokens, and for what", List, &flags);
  AddOutputFlag(command, &flags->output);
}

}  // namespace headlong
