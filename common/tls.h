// Certificates of both ends of a connection. Files are looked at again every few seconds: a renewed
// certificate needs no restart.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"

namespace headlong {

// PEM files. Who holds them is told by the URI in the certificate: see kWorkerIdentity.
struct TlsFiles {
  std::string cert;  // of this end, with what signed it after it
  std::string key;   // of the certificate
  std::string ca;    // what the other end's certificate must be signed by

  bool any() const { return !cert.empty() || !key.empty() || !ca.empty(); }
};

// URIs that certificates of a cluster name their holders by; a pool or an id may follow a slash.
inline constexpr char kCoordinatorIdentity[] = "spiffe://headlong/coordinator";
inline constexpr char kWorkerIdentity[] = "spiffe://headlong/worker";

// INVALID_ARGUMENT names the flag (--tls-cert, --tls-key, --tls-ca) and the file: one of a pair
// missing, not readable, no PEM, a key of another certificate, expired or not valid yet.
absl::Status CheckTlsFiles(const TlsFiles& files);

// REQUIRES: cert and key. Clients need a certificate signed by `ca` where there is one.
std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const TlsFiles& files);

// Checks the server's certificate and that it names the host that was dialled: against `ca`, else
// the system's authorities. Shows its own certificate where there is one.
std::shared_ptr<grpc::ChannelCredentials> MakeChannelCredentials(const TlsFiles& files);

}  // namespace headlong
