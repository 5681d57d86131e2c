// `doctor`: why a set-up does not work, and what to do next.
#include <memory>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/contexts.h"
#include "cli/doctor.h"
#include "cli/doctor_bundle.h"
#include "cli/interrupt.h"
#include "cli/target.h"
#include "common/status.h"

namespace headlong {
namespace {

struct DoctorFlags {
  DoctorQuestion question;
  OutputFlag output;
};

bool AsksServer(const DoctorQuestion& question) {
  const ServerFlags& server = question.target.server;
  const bool named = !server.address.empty() || !server.context.empty();
  return named || (!question.target.embedded() && question.worker_of.empty());
}

void CheckAll(const DoctorQuestion& question, Findings& findings, ServerAnswers& answers) {
  CheckMachine(findings);
  if (question.target.embedded()) CheckModel(question.target, findings);
  if (!question.worker_of.empty() && !Interrupted()) {
    TlsFiles files = question.worker_tls;
    files.ca = question.target.server.files.ca;
    if (files.ca.empty()) files.ca = FromEnvironment("HEADLONG_TLS_CA");  // as a worker does
    CheckWorkerLink(question.worker_of, files, question.target.engine.model, findings);
  }
  if (!AsksServer(question) || Interrupted()) return;
  const absl::StatusOr<ServerFlags> server = ResolveServer(question.target.server);
  if (!server.ok()) {
    return findings.Fail("server", std::string(server.status().message()),
                         "`headlong config view` shows the servers that have names");
  }
  CheckServer(*server, findings, answers);
}

ExitCode Diagnose(const DoctorFlags& flags, const Terminal& terminal) {
  Findings findings;
  ServerAnswers answers;
  CheckAll(flags.question, findings, answers);
  if (Interrupted()) return Fail(absl::CancelledError("interrupted"));
  if (!flags.question.bundle.empty()) {
    const absl::Status written = WriteBundle(flags.question.bundle, findings, answers);
    if (written.ok()) {
      findings.Ok("bundle", absl::StrCat(flags.question.bundle, " is written"));
    } else {
      findings.Fail("bundle", std::string(written.message()),
                    "name a file in a folder that you may write to, on a disk that is not full");
    }
  }
  const absl::Status printed = flags.output.json()
                                   ? PrintJson(FindingsJson(findings))
                                   : PrintText(FindingsText(findings, terminal.colours_stdout()));
  if (!printed.ok()) return Fail(printed);
  return findings.failed() ? ExitCode::kFailed : ExitCode::kOk;
}

}  // namespace

void AddDoctorCommand(CommandLine& cli) {
  auto flags = std::make_shared<DoctorFlags>();
  DoctorQuestion& question = flags->question;
  CLI::App* command = cli.app.add_subcommand(
      "doctor", "Say why a server, a model or a worker does not work, and what to do next");
  AddOutputFlag(command, &flags->output);
  command->add_option("--bundle", question.bundle,
                      "Write what was found and asked to this tar file: no secrets, no prompts");
  AddTargetFlags(command, &question.target);
  CLI::Option* worker_of =
      command
          ->add_option("--worker-of", question.worker_of,
                       "A coordinator's address for workers: would a worker be taken there?")
          ->check(CheckAddress)
          ->group("Worker");
  for (const auto& [name, file, what] :
       {std::tuple("--tls-cert", &question.worker_tls.cert, "What the worker would show it, PEM"),
        std::tuple("--tls-key", &question.worker_tls.key, "Key of that certificate, PEM")}) {
    command->add_option(name, *file, what)->needs(worker_of)->group("Worker");
  }
  command->callback(
      [&cli, flags] { cli.action = [&cli, flags] { return Diagnose(*flags, cli.terminal); }; });
}

}  // namespace headlong
