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
  TokenLimits limits;
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

// `scopes` with commas between them.
OutputJson EntryJson(const std::string& name, const std::string& scopes,
                     const TokenLimits& limits) {
  OutputJson entry = {{"name", name}, {"scopes", absl::StrSplit(scopes, ',')}};
  if (limits.max_concurrent > 0) entry["max_concurrent"] = limits.max_concurrent;
  if (limits.tokens_per_second > 0) entry["tokens_per_second"] = limits.tokens_per_second;
  if (limits.cache_share > 0) entry["cache_share"] = limits.cache_share;
  return entry;
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
  absl::StrAppend(&text, flags.name, " ", flags.scopes, " ", hash.HexDigest(),
                  LimitsText(flags.limits), "\n");
  RETURN_IF_ERROR(ParseTokens(text, "--scopes").status());
  RETURN_IF_ERROR(WritePrivateFile(flags.file.string(), text, /*replace=*/true));
  if (!flags.output.json()) return PrintText(token + "\n");  // the file keeps its hash alone
  OutputJson json = EntryJson(flags.name, flags.scopes, flags.limits);
  json["token"] = token;
  return PrintJson(json);
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
  RETURN_IF_ERROR(WritePrivateFile(flags.file.string(), rest, /*replace=*/true));
  return flags.output.json() ? PrintJson({{"name", flags.name}, {"revoked", true}})
                             : absl::OkStatus();
}

absl::Status List(const AuthFlags& flags) {
  ASSIGN_OR_RETURN(const std::string text, ReadTokens(flags.file, /*must_exist=*/true));
  OutputJson json = OutputJson::array();
  std::string lines;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    if (NameIn(line).empty()) continue;
    const std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    const TokenLimits limits = ParseTokens(line, "").value().begin()->second.limits;
    json.push_back(EntryJson(words[0], words[1], limits));
    absl::StrAppend(&lines, words[0], "  ", words[1], LimitsText(limits), "\n");
  }
  return flags.output.json() ? PrintJson(json) : PrintText(lines);
}

CLI::App* AddVerb(CommandLine& cli, CLI::App* noun, const char* verb, const char* what,
                  absl::Status (*run)(const AuthFlags&), std::shared_ptr<AuthFlags>* flags) {
  *flags = std::make_shared<AuthFlags>();
  CLI::App* command = noun->add_subcommand(verb, what);
  command->add_option("FILE", (*flags)->file, "As --access-tokens of the coordinator")->required();
  AddOutputFlag(command, &(*flags)->output);
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

void AddLimits(CLI::App* command, TokenLimits& limits) {
  const auto add = [command](const char* flag, auto& value, const char* what) {
    return command->add_option(flag, value, what)->group("Limits");
  };
  add("--max-concurrent", limits.max_concurrent, "Requests queued and running at once")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
  add("--tokens-per-second", limits.tokens_per_second,
      "Tokens of prompts and answers, over some 10 seconds")
      ->check(CheckPositive, "POSITIVE");
  add("--cache-share", limits.cache_share, "Part of the caches that its requests may hold, up to 1")
      ->check(CLI::Range(1e-6, 1.0));
}

}  // namespace

void AddAuthCommand(CommandLine& cli) {
  CLI::App* noun = cli.app.add_subcommand("auth", "Access tokens of clients");
  noun->require_subcommand(1);
  CLI::App* token = noun->add_subcommand(
      "token", "The file of tokens that a coordinator takes (--access-tokens)");
  token->require_subcommand(1);
  std::shared_ptr<AuthFlags> flags;
  CLI::App* command =
      AddVerb(cli, token, "create", "Add a token; it is printed once", Create, &flags);
  AddName(command, *flags);
  command
      ->add_option("--scopes", flags->scopes,
                   "infer (prompts), read (the cluster), admin (read, and change it)")
      ->capture_default_str();
  AddLimits(command, flags->limits);
  command = AddVerb(cli, token, "revoke", "Remove a token; servers notice within a second", Revoke,
                    &flags);
  AddName(command, *flags);
  AddVerb(cli, token, "list", "Who has tokens, for what, and with which limits", List, &flags);
}

}  // namespace headlong
