#include "cli/doctor_reach.h"

#include <ctime>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr double kSoonDays = 7;

std::string Address(const Reach& reach) { return absl::StrCat(reach.at.host, ":", reach.at.port); }

std::string Clock() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", &parts);
  return text;
}

const char* Ports(const Reach& reach) {
  return reach.worker_port
             ? "workers are taken at --worker-listen of the coordinator (by default port 7001)"
             : "clients are answered at --listen of the server (by default port 7000)";
}

// What the certificate is not trusted for, and what to do about it.
void Untrusted(const Reach& reach, const Handshake& shaken, Findings& findings) {
  const std::string ca = reach.files.ca.empty() ? "the system's authorities" : reach.files.ca;
  if (shaken.expired) {
    return findings.Fail(
        "certificate",
        absl::StrCat("the server's certificate, or one that signed it, has expired (it: ",
                     shaken.not_after, "); this machine's clock says ", Clock()),
        "renew it (`headlong certs issue`), or set the clock of this machine");
  }
  if (shaken.not_yet_valid) {
    return findings.Fail("certificate",
                         absl::StrCat("the server's certificate is not valid before ",
                                      shaken.not_before, "; this machine's clock says ", Clock()),
                         "set the clock of this machine, or of the one that made the certificate");
  }
  if (shaken.wrong_name) {
    return findings.Fail(
        "certificate",
        absl::StrCat("the server's certificate is for ", absl::StrJoin(shaken.names, ", "),
                     ", not for ", reach.at.host),
        absl::StrCat("dial it by one of those names, or issue it with --host ", reach.at.host));
  }
  findings.Fail("certificate",
                absl::StrCat("wrong authority: ", ca,
                             " did not sign the server's certificate "
                             "(issuer ",
                             shaken.issuer, "): ", shaken.verify_error),
                "give the ca.crt of the cluster's own authority as --tls-ca");
}

void HandshakeFailed(const Reach& reach, const Handshake& shaken, Findings& findings) {
  // Some say so by an alert, gRPC's servers close the connection.
  const bool wants_certificate = shaken.asks_certificate;
  if (wants_certificate && reach.files.cert.empty()) {
    return findings.Fail(
        "certificate", absl::StrCat("the server wants to see a certificate: ", shaken.failure),
        reach.worker_port ? "give --tls-cert and --tls-key of a worker"
                          : "this is the port for workers; ask the one for clients");
  }
  if (wants_certificate) {
    return findings.Fail(
        "certificate",
        absl::StrCat("the server does not take ", reach.files.cert, ": ", shaken.failure),
        "show one that the coordinator's --tls-ca signed and that has not expired");
  }
  findings.Fail("certificate", absl::StrCat("no TLS with the server: ", shaken.failure),
                "see the server's log");
}

}  // namespace

bool CheckTlsFilesOf(const Reach& reach, Findings& findings) {
  if (!reach.files.any()) return true;
  const absl::Status status = CheckTlsFiles(reach.files);
  if (!status.ok()) {
    findings.Fail("TLS files", std::string(status.message()),
                  absl::StrCat("this machine's clock says ", Clock(),
                               "; `headlong certs show FILE` says what a certificate is"));
    return false;
  }
  findings.Ok("TLS files", "can be read, belong together and are valid now");
  return true;
}

bool CheckPort(const Reach& reach, Findings& findings) {
  const absl::StatusOr<std::vector<std::string>> addresses = Resolve(reach.at);
  if (!addresses.ok()) {
    findings.Fail("address", std::string(addresses.status().message()),
                  "check the name, or this machine's DNS (/etc/resolv.conf, /etc/hosts)");
    return false;
  }
  const absl::StatusOr<Connection> connection = Connection::Open(reach.at);
  if (connection.ok()) {
    findings.Ok("port", absl::StrCat(Address(reach), " takes connections"));
    return true;
  }
  const std::string why(connection.status().message());
  if (absl::IsDeadlineExceeded(connection.status())) {
    findings.Fail("port", why,
                  "the machine is down, or a firewall or NetworkPolicy drops what is sent there");
  } else {
    findings.Fail("port", why,
                  absl::StrCat("start it there, or give another port: ", Ports(reach)));
  }
  return false;
}

bool CheckProtocol(const Reach& reach, Findings& findings) {
  const absl::StatusOr<Protocol> protocol = ProbeProtocol(reach.at);
  if (!protocol.ok()) {
    findings.Fail("protocol", std::string(protocol.status().message()), "try again");
    return false;
  }
  if (*protocol == Protocol::kTls && !reach.tls) {
    findings.Fail("protocol", "the server speaks TLS, this command does not",
                  "give --tls-ca FILE with the cluster's authority, or --tls");
    return false;
  }
  if (*protocol == Protocol::kHttp2 && reach.tls) {
    findings.Fail("protocol", "the server does not speak TLS, this command does",
                  "leave --tls and --tls-ca away, or start the server with --tls-cert and "
                  "--tls-key");
    return false;
  }
  if (*protocol == Protocol::kTls || *protocol == Protocol::kHttp2) {
    findings.Ok("protocol", reach.tls ? "TLS, as this command" : "HTTP/2 without TLS");
    return true;
  }
  const char* what = *protocol == Protocol::kHttp1    ? "a web server, or a port of metrics"
                     : *protocol == Protocol::kSilent ? "something that says nothing"
                                                      : "something that speaks neither TLS nor "
                                                        "HTTP/2";
  findings.Fail("protocol",
                absl::StrCat("what listens at ", Address(reach), " is not Headlong: ", what),
                absl::StrCat("give another port: ", Ports(reach)));
  return false;
}

bool CheckCertificate(const Reach& reach, Findings& findings) {
  if (!reach.tls) return true;
  const absl::StatusOr<Handshake> shaken = ShakeHands(reach.at, reach.files);
  if (!shaken.ok()) {
    findings.Fail("certificate", std::string(shaken.status().message()),
                  "see the files that are named");
    return false;
  }
  if (!shaken->verify_error.empty()) {
    Untrusted(reach, *shaken, findings);
    return false;
  }
  if (!shaken->completed) {
    HandshakeFailed(reach, *shaken, findings);
    return false;
  }
  const std::string found =
      absl::StrCat("signed for ", reach.at.host, ", valid until ", shaken->not_after,
                   absl::StrFormat(" (%.0f days)", shaken->days_left));
  if (shaken->days_left < kSoonDays) {
    findings.Warn("certificate", found, "renew it: `headlong certs issue`");
  } else {
    findings.Ok("certificate", found);
  }
  return true;
}

bool CheckReach(const Reach& reach, Findings& findings) {
  return CheckTlsFilesOf(reach, findings) && CheckPort(reach, findings) &&
         CheckProtocol(reach, findings) && CheckCertificate(reach, findings);
}

}  // namespace headlong
