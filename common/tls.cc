#include "common/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "common/x509.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"

namespace headlong {
namespace {

using grpc::experimental::FileWatcherCertificateProvider;

constexpr unsigned kLookAgainSeconds = 5;

absl::Status Wrong(const char* flag, const std::string& file, const std::string& what) {
  ERR_clear_error();
  return absl::InvalidArgumentError(absl::StrCat(flag, ": ", file, " ", what));
}

absl::StatusOr<OpenSslOwned<BIO>> Open(const char* flag, const std::string& path) {
  OpenSslOwned<BIO> file(BIO_new_file(path.c_str(), "r"));
  if (file == nullptr) return Wrong(flag, path, "cannot be read");
  return file;
}

absl::StatusOr<OpenSslOwned<X509>> ReadCertificate(const char* flag, const std::string& path) {
  ASSIGN_OR_RETURN(const OpenSslOwned<BIO> file, Open(flag, path));
  OpenSslOwned<X509> certificate(PEM_read_bio_X509(file.get(), nullptr, nullptr, nullptr));
  if (certificate == nullptr) return Wrong(flag, path, "holds no PEM certificate");
  const ASN1_TIME* begin = X509_get0_notBefore(certificate.get());
  const ASN1_TIME* end = X509_get0_notAfter(certificate.get());
  if (X509_cmp_current_time(begin) > 0) {
    return Wrong(flag, path,
                 absl::StrCat("is not valid before ", TimeText(begin), ": see the clock"));
  }
  if (X509_cmp_current_time(end) < 0) {
    return Wrong(flag, path, absl::StrCat("has expired on ", TimeText(end)));
  }
  return certificate;
}

}  // namespace

absl::Status CheckTlsFiles(const TlsFiles& files) {
  if (!files.ca.empty()) RETURN_IF_ERROR(ReadCertificate("--tls-ca", files.ca).status());
  if (files.cert.empty() != files.key.empty()) {
    return absl::InvalidArgumentError(files.key.empty() ? "--tls-key: --tls-cert needs it"
                                                        : "--tls-cert: --tls-key needs it");
  }
  if (files.cert.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const OpenSslOwned<X509> certificate, ReadCertificate("--tls-cert", files.cert));
  ASSIGN_OR_RETURN(const OpenSslOwned<BIO> file, Open("--tls-key", files.key));
  const OpenSslOwned<EVP_PKEY> key(PEM_read_bio_PrivateKey(file.get(), nullptr, nullptr, nullptr));
  if (key == nullptr) return Wrong("--tls-key", files.key, "holds no PEM key without a passphrase");
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    return Wrong("--tls-key", files.key, absl::StrCat("is not the key of ", files.cert));
  }
  return absl::OkStatus();
}

std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const TlsFiles& files) {
  grpc::experimental::TlsServerCredentialsOptions options(
      std::make_shared<FileWatcherCertificateProvider>(files.key, files.cert, files.ca,
                                                       kLookAgainSeconds));
  options.watch_identity_key_cert_pairs();
  if (!files.ca.empty()) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

std::shared_ptr<grpc::ChannelCredentials> MakeChannelCredentials(const TlsFiles& files) {
  grpc::experimental::TlsChannelCredentialsOptions options;
  if (files.any()) {
    options.set_certificate_provider(std::make_shared<FileWatcherCertificateProvider>(
        files.key, files.cert, files.ca, kLookAgainSeconds));
  }
  if (!files.ca.empty()) options.watch_root_certs();
  if (!files.cert.empty()) options.watch_identity_key_cert_pairs();
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace headlong
