// The TLS half of dial.h.
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>

#include <chrono>
#include <memory>

#include "absl/strings/str_cat.h"
#include "cli/certificates.h"
#include "cli/dial.h"
#include "common/status.h"
#include "common/x509.h"

namespace headlong {
namespace {

constexpr std::chrono::seconds kPatience{3};

struct SslFreer {
  void operator()(SSL* p) const { SSL_free(p); }
  void operator()(SSL_CTX* p) const { SSL_CTX_free(p); }
};
using OwnedContext = std::unique_ptr<SSL_CTX, SslFreer>;
using OwnedSsl = std::unique_ptr<SSL, SslFreer>;

std::string OpenSslReason() {
  const unsigned long error = ERR_get_error();
  ERR_clear_error();
  const char* reason = ERR_reason_error_string(error);
  return reason == nullptr ? "the connection was closed" : reason;
}

absl::StatusOr<OwnedContext> MakeContext(const TlsFiles& files) {
  OwnedContext context(SSL_CTX_new(TLS_client_method()));
  if (context == nullptr) return absl::InternalError("OpenSSL has no TLS");
  const int trusted = files.ca.empty() ? SSL_CTX_set_default_verify_paths(context.get())
                                       : SSL_CTX_load_verify_file(context.get(), files.ca.c_str());
  if (trusted != 1) {
    return absl::InvalidArgumentError(absl::StrCat("--tls-ca: ", files.ca, ": ", OpenSslReason()));
  }
  if (!files.cert.empty()) {
    const bool usable =
        SSL_CTX_use_certificate_chain_file(context.get(), files.cert.c_str()) == 1 &&
        SSL_CTX_use_PrivateKey_file(context.get(), files.key.c_str(), SSL_FILETYPE_PEM) == 1;
    if (!usable) {
      return absl::InvalidArgumentError(
          absl::StrCat("--tls-cert: ", files.cert, ": ", OpenSslReason()));
    }
  }
  const unsigned char h2[] = {2, 'h', '2'};
  SSL_CTX_set_alpn_protos(context.get(), h2, sizeof(h2));
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);  // it is looked at afterwards
  return context;
}

// OpenSSL calls it when the server asks for a certificate, whether this end has one or not.
int NoteRequest(SSL*, void* asked) {
  *static_cast<bool*>(asked) = true;
  return 1;
}

// Names and addresses are checked differently, as gRPC does.
void ExpectHost(SSL* ssl, const std::string& host) {
  X509_VERIFY_PARAM* wanted = SSL_get0_param(ssl);
  if (X509_VERIFY_PARAM_set1_ip_asc(wanted, host.c_str()) == 1) return;
  SSL_set_tlsext_host_name(ssl, host.c_str());
  X509_VERIFY_PARAM_set1_host(wanted, host.c_str(), host.size());
}

// Runs the handshake on a socket that does not block. Empty, or why it ended.
std::string Run(SSL* ssl, int fd) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    const int done = SSL_connect(ssl);
    if (done == 1) return "";
    const int wants = SSL_get_error(ssl, done);
    if (wants != SSL_ERROR_WANT_READ && wants != SSL_ERROR_WANT_WRITE) return OpenSslReason();
    pollfd waiting{fd, static_cast<short>(wants == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT), 0};
    if (poll(&waiting, 1, 100) < 0 || std::chrono::steady_clock::now() > end) {
      return "the handshake got no answer";
    }
  }
}

// With TLS 1.3 a server refuses a client's certificate only after the client is through.
std::string LateRefusal(SSL* ssl, int fd) {
  pollfd waiting{fd, POLLIN, 0};
  char byte = 0;
  for (int round = 0; round < 5 && poll(&waiting, 1, 200) >= 0; ++round) {
    const int got = SSL_read(ssl, &byte, 1);
    if (got > 0) return "";
    const int wants = SSL_get_error(ssl, got);
    if (wants != SSL_ERROR_WANT_READ && wants != SSL_ERROR_WANT_WRITE) return OpenSslReason();
  }
  return "";
}

absl::Status Describe(X509* certificate, Handshake& out) {
  const OpenSslOwned<BIO> text(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(text.get(), certificate);
  char* pem = nullptr;
  const long size = BIO_get_mem_data(text.get(), &pem);
  ASSIGN_OR_RETURN(const CertificateSummary summary,
                   DescribeCertificate(std::string(pem, static_cast<size_t>(size))));
  out.subject = summary.subject;
  out.issuer = summary.issuer;
  out.names = summary.names;
  out.not_before = summary.not_before;
  out.not_after = summary.not_after;
  out.days_left = summary.days_left;
  return absl::OkStatus();
}

void Verify(SSL* ssl, Handshake& out) {
  const long result = SSL_get_verify_result(ssl);
  if (result == X509_V_OK) return;
  out.verify_error = X509_verify_cert_error_string(result);
  out.expired = result == X509_V_ERR_CERT_HAS_EXPIRED;
  out.not_yet_valid = result == X509_V_ERR_CERT_NOT_YET_VALID;
  out.wrong_name =
      result == X509_V_ERR_HOSTNAME_MISMATCH || result == X509_V_ERR_IP_ADDRESS_MISMATCH;
  out.unknown_issuer = !out.expired && !out.not_yet_valid && !out.wrong_name;
}

}  // namespace

absl::StatusOr<Handshake> ShakeHands(const HostPort& at, const TlsFiles& files) {
  ERR_clear_error();
  ASSIGN_OR_RETURN(const OwnedContext context, MakeContext(files));
  ASSIGN_OR_RETURN(const Connection connection, Connection::Open(at));
  const OwnedSsl ssl(SSL_new(context.get()));
  ExpectHost(ssl.get(), at.host);
  SSL_set_fd(ssl.get(), connection.fd());
  Handshake handshake;
  SSL_set_cert_cb(ssl.get(), NoteRequest, &handshake.asks_certificate);
  handshake.failure = Run(ssl.get(), connection.fd());
  const OpenSslOwned<X509> certificate(SSL_get1_peer_certificate(ssl.get()));
  if (certificate != nullptr) {
    RETURN_IF_ERROR(Describe(certificate.get(), handshake));
    Verify(ssl.get(), handshake);
  }
  if (handshake.failure.empty()) handshake.failure = LateRefusal(ssl.get(), connection.fd());
  SSL_set_cert_cb(ssl.get(), nullptr, nullptr);
  handshake.completed = handshake.failure.empty();
  return handshake;
}

}  // namespace headlong
