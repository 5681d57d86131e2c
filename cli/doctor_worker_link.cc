// A coordinator as a worker meets it: reached, trusted, and whether it would take the worker.
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <chrono>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/certificates.h"
#include "cli/doctor.h"
#include "cli/doctor_reach.h"
#include "common/json.h"
#include "common/status.h"
#include "common/version.h"
#include "common/wire.h"
#include "headlong/v1/worker.grpc.pb.h"
#include "model/checkpoint.h"
#include "model/config.h"

namespace headlong {
namespace {

constexpr char kNobody[] = "headlong-doctor";  // an id that no worker has

// Who the certificate says this end is.
bool CheckIdentity(const TlsFiles& files, Findings& findings) {
  if (files.cert.empty()) return true;
  const absl::StatusOr<std::string> pem = ReadFile(files.cert);
  if (!pem.ok()) return true;  // said before
  const absl::StatusOr<CertificateSummary> summary = DescribeCertificate(*pem);
  if (!summary.ok()) return true;
  for (const std::string& name : summary->names) {
    if (absl::StartsWith(name, absl::StrCat("URI:", kWorkerIdentity))) {
      findings.Ok("identity", absl::StrCat(files.cert, " is a worker's"));
      return true;
    }
  }
  findings.Fail("identity",
                absl::StrCat(files.cert,
                             " is not a worker's certificate: its URI must "
                             "begin with ",
                             kWorkerIdentity),
                "`headlong certs issue FOLDER NAME --role worker` makes one");
  return false;
}

// Of the weights here. Empty where there are none, or they are wrong, which is said.
std::string FingerprintOf(const std::string& folder) {
  if (folder.empty()) return "";
  const absl::StatusOr<ModelConfig> config = LoadModelConfig(folder);
  if (!config.ok()) return "";  // CheckModel says why
  const auto checkpoint = Checkpoint::Open(folder, *config);
  return checkpoint.ok() ? (*checkpoint)->fingerprint() : "";
}

grpc::Status Ask(const Reach& reach, const v1::Register& registration,
                 v1::CheckRegisterResponse& welcome) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const auto channel = grpc::CreateCustomChannel(
      absl::StrCat(absl::StrContains(reach.at.host, ':') ? absl::StrCat("[", reach.at.host, "]")
                                                         : reach.at.host,
                   ":", reach.at.port),
      reach.tls ? MakeChannelCredentials(reach.files) : grpc::InsecureChannelCredentials(),
      arguments);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  return v1::WorkerLink::NewStub(channel)->CheckRegister(&context, registration, &welcome);
}

void Explain(const grpc::Status& status, Findings& findings) {
  const std::string& why = status.error_message();
  // The port for clients knows the method, but asks for a token, or refuses what tokens are not
  // for.
  if (status.error_code() == grpc::StatusCode::UNAUTHENTICATED ||
      status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
    return findings.Fail("registration",
                         "what answers there is not the worker port of a Headlong "
                         "coordinator of this version",
                         "give the address of --worker-listen, or update the coordinator");
  }
  if (status.error_code() == grpc::StatusCode::PERMISSION_DENIED) {
    return findings.Fail("registration", why,
                         "show a worker's certificate: `headlong certs issue "
                         "FOLDER NAME --role worker`");
  }
  if (absl::StrContains(why, "speaks protocol")) {
    return findings.Fail("registration",
                         absl::StrCat("versions do not fit: a worker of this program ", why),
                         "bring coordinator and worker to one version");
  }
  if (absl::StrContains(why, "another model")) {
    return findings.Fail("registration",
                         absl::StrCat("the coordinator refuses this model: it ", why),
                         "give worker and coordinator the same --model folder; `headlong model "
                         "verify` shows damage");
  }
  findings.Fail("registration", why, "see the coordinator's log");
}

}  // namespace

void CheckWorkerLink(const std::string& address, const TlsFiles& files, const std::string& model,
                     Findings& findings) {
  Reach reach;
  reach.at = SplitAddress(address);
  reach.tls = files.any();
  reach.files = files;
  reach.worker_port = true;
  if (!CheckTlsFilesOf(reach, findings) || !CheckIdentity(files, findings)) return;
  if (!CheckPort(reach, findings) || !CheckProtocol(reach, findings)) return;
  if (!CheckCertificate(reach, findings)) return;
  v1::Register registration;
  registration.set_protocol(kWireProtocol);
  registration.set_version(Version());
  registration.set_worker_id(kNobody);
  registration.set_pid(getpid());
  registration.set_model_fingerprint(FingerprintOf(model));
  v1::CheckRegisterResponse welcome;
  const grpc::Status status = Ask(reach, registration, welcome);
  // Without a model here any is another one: that alone is no fault.
  const bool no_model = registration.model_fingerprint().empty() &&
                        absl::StrContains(status.error_message(), "another model");
  if (no_model) {
    return findings.Ok("registration",
                       "it speaks this protocol; with --model DIR the model is "
                       "compared, too");
  }
  if (!status.ok()) return Explain(status, findings);
  if (welcome.version() != Version()) {
    return findings.Warn("registration",
                         absl::StrCat("would be taken; but the coordinator is ", welcome.version(),
                                      ", this program ", Version()),
                         "bring both to one version");
  }
  findings.Ok("registration",
              absl::StrCat("a worker with this model (", welcome.model(), ") would be taken"));
}

}  // namespace headlong
