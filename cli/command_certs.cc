// `certs`: certificates for clusters that have no authority of their own.

#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/certificates.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/json_output.h"
#include "cli/private_file.h"
#include "common/json.h"
#include "common/status.h"
#include "common/tls.h"

namespace headlong {
namespace {

constexpr int kAuthorityDays = 3650;
constexpr char kCa[] = "ca.crt";
constexpr char kCaKey[] = "ca.key";

struct CertsFlags {
  std::filesystem::path folder;
  std::filesystem::path file;
  std::string name;
  std::string role;
  std::vector<std::string> hosts;
  int days = 90;
  OutputFlag output;
};

absl::Status WritePair(const std::filesystem::path& stem, const KeyAndCertificate& made,
                       bool replace) {
  RETURN_IF_ERROR(WritePrivateFile(absl::StrCat(stem.string(), ".key"), made.key, replace));
  return WritePrivateFile(absl::StrCat(stem.string(), ".crt"), made.certificate, replace);
}

OutputJson PairJson(const std::filesystem::path& stem) {
  return {{"certificate", absl::StrCat(stem.string(), ".crt")},
          {"key", absl::StrCat(stem.string(), ".key")}};
}

absl::Status Init(const CertsFlags& flags) {
  std::error_code error;
  std::filesystem::create_directories(flags.folder, error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat(flags.folder.string(), ": cannot be made: ", error.message()));
  }
  ASSIGN_OR_RETURN(const KeyAndCertificate made, MakeAuthority("headlong cluster", flags.days));
  RETURN_IF_ERROR(WritePair(flags.folder / "ca", made, /*replace=*/false));
  if (flags.output.json()) return PrintJson(PairJson(flags.folder / "ca"));
  return PrintText(absl::StrCat(
      "wrote ", (flags.folder / kCa).string(), " and ", (flags.folder / kCaKey).string(),
      ": keep the key where no server runs\nnext: headlong certs issue ", flags.folder.string(),
      " coordinator --role coordinator --host NAME\n      headlong certs issue ",
      flags.folder.string(), " w0 --role worker\n"));
}

absl::Status Issue(const CertsFlags& flags) {
  const bool worker = flags.role == "worker";
  if (!worker && flags.hosts.empty()) {
    return absl::InvalidArgumentError(
        "--host: the names or addresses that workers and clients dial the coordinator by");
  }
  KeyAndCertificate authority;
  ASSIGN_OR_RETURN(authority.certificate, ReadFile(flags.folder / kCa));
  ASSIGN_OR_RETURN(authority.key, ReadFile(flags.folder / kCaKey));
  CertificateRequest request;
  request.identity = worker ? absl::StrCat(kWorkerIdentity, "/", flags.name) : kCoordinatorIdentity;
  request.hosts = flags.hosts;
  request.days = flags.days;
  ASSIGN_OR_RETURN(const KeyAndCertificate made, IssueCertificate(authority, request));
  RETURN_IF_ERROR(WritePair(flags.folder / flags.name, made, /*replace=*/true));
  const std::string stem = (flags.folder / flags.name).string();
  if (flags.output.json()) {
    OutputJson json = PairJson(stem);
    json["authority"] = (flags.folder / kCa).string();
    json["identity"] = request.identity;
    json["hosts"] = request.hosts;
    return PrintJson(json);
  }
  return PrintText(absl::StrCat("use: --tls-cert ", stem, ".crt --tls-key ", stem, ".key --tls-ca ",
                                (flags.folder / kCa).string(), "\n"));
}

absl::Status Show(const CertsFlags& flags) {
  ASSIGN_OR_RETURN(const std::string pem, ReadFile(flags.file));
  const absl::StatusOr<CertificateSummary> shown = DescribeCertificate(pem);
  if (!shown.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(flags.file.string(), " ", shown.status().message()));
  }
  if (flags.output.json()) {
    return PrintJson({{"subject", shown->subject},
                      {"issuer", shown->issuer},
                      {"names", shown->names},
                      {"not_before", shown->not_before},
                      {"not_after", shown->not_after},
                      {"days_left", shown->days_left},
                      {"authority", shown->authority}});
  }
  return PrintText(absl::StrCat("subject  ", shown->subject, "\nissuer   ", shown->issuer,
                                "\nnames    ", absl::StrJoin(shown->names, "\n         "),
                                "\nvalid    ", shown->not_before, " to ", shown->not_after,
                                shown->days_left < 0 ? ": EXPIRED" : "", "\n"));
}

CLI::App* AddVerb(CommandLine& cli, CLI::App* noun, const char* verb, const char* what,
                  const std::shared_ptr<CertsFlags>& flags,
                  absl::Status (*run)(const CertsFlags&)) {
  CLI::App* command = noun->add_subcommand(verb, what);
  AddOutputFlag(command, &flags->output);
  command->callback([&cli, flags, run] {
    cli.action = [flags, run] {
      const absl::Status done = run(*flags);
      return done.ok() ? ExitCode::kOk : Fail(done);
    };
  });
  return command;
}

void AddDays(CLI::App* command, int* days) {
  command->add_option("--days", *days, "For how long it is valid")
      ->check(CLI::Range(1, 36500))
      ->capture_default_str();
}

}  // namespace

void AddCertsCommand(CommandLine& cli) {
  CLI::App* noun = cli.app.add_subcommand("certs", "Certificates by which a cluster knows itself");
  noun->require_subcommand(1);
  auto init = std::make_shared<CertsFlags>();
  init->days = kAuthorityDays;
  CLI::App* command = AddVerb(cli, noun, "init", "Make an authority: ca.crt, ca.key", init, Init);
  command->add_option("FOLDER", init->folder, "Where to; made when absent")->required();
  AddDays(command, &init->days);

  auto issue = std::make_shared<CertsFlags>();
  command = AddVerb(cli, noun, "issue", "Sign a certificate: NAME.crt and NAME.key", issue, Issue);
  command->add_option("FOLDER", issue->folder, "Of the authority")->required();
  command->add_option("NAME", issue->name, "Of the files, and of a worker")
      ->required()
      ->check([](const std::string& name) {
        return name.find_first_of("/,") == std::string::npos && name != "ca"
                   ? ""
                   : "must be a name of its own without slash and comma";
      });
  command->add_option("--role", issue->role, "coordinator or worker")
      ->required()
      ->check(CLI::IsMember({"coordinator", "worker"}));
  command->add_option("--host", issue->hosts, "Name or address that it is dialled by; repeatable")
      ->allow_extra_args(false);
  AddDays(command, &issue->days);

  auto show = std::make_shared<CertsFlags>();
  command =
      AddVerb(cli, noun, "show", "Say whose a certificate is and how long it lasts", show, Show);
  command->add_option("FILE", show->file, "PEM")->required();
}

}  // namespace headlong
