#include "cli/certificates.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/status.h"
#include "common/x509.h"

namespace headlong {
namespace {

constexpr int64_t kDay = 24 * 3600;
constexpr int64_t kClockSkew = 300;  // seconds by which clocks of a cluster may differ
constexpr int kSerialBytes = 16;

absl::Status OutOfOrder(const char* what) {
  return absl::InternalError(absl::StrCat("OpenSSL could not ", what));
}

OpenSslOwned<BIO> Memory(const std::string& text) {
  return OpenSslOwned<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string TextOf(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(size)};
}

// Starts a certificate for a new key: valid from now, without names or signature.
absl::StatusOr<OpenSslOwned<X509>> Blank(EVP_PKEY* key, const std::string& name, int days) {
  OpenSslOwned<X509> certificate(X509_new());
  unsigned char serial[kSerialBytes];
  if (certificate == nullptr || RAND_bytes(serial, sizeof(serial)) != 1) {
    return OutOfOrder("make a certificate");
  }
  serial[0] &= 0x7f;
  const OpenSslOwned<BIGNUM> number(BN_bin2bn(serial, sizeof(serial), nullptr));
  BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate.get()));
  X509_set_version(certificate.get(), 2);  // X.509 v3
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -kClockSkew);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), days * kDay);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.data()),
                             static_cast<int>(name.size()), -1, 0);
  return certificate;
}

absl::Status AddExtension(X509* certificate, X509* issuer, int id, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const OpenSslOwned<X509_EXTENSION> extension(
      X509V3_EXT_conf_nid(nullptr, &context, id, value.c_str()));
  if (extension == nullptr || X509_add_ext(certificate, extension.get(), -1) != 1) {
    return absl::InvalidArgumentError(absl::StrCat("\"", value, "\" fits no certificate"));
  }
  return absl::OkStatus();
}

absl::StatusOr<KeyAndCertificate> Write(EVP_PKEY* key, X509* certificate) {
  const OpenSslOwned<BIO> key_text(BIO_new(BIO_s_mem()));
  const OpenSslOwned<BIO> text(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_PrivateKey(key_text.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1 ||
      PEM_write_bio_X509(text.get(), certificate) != 1) {
    return OutOfOrder("write a certificate");
  }
  return KeyAndCertificate{TextOf(key_text.get()), TextOf(text.get())};
}

// X.509 v3's word for what a host is: an address or a name.
std::string AlternativeName(const std::string& host) {
  const bool digits = host.find_first_not_of("0123456789.") == std::string::npos;
  const bool address = digits || host.find(':') != std::string::npos;
  return absl::StrCat(address ? "IP:" : "DNS:", host);
}

std::string Line(X509_NAME* name) {
  const OpenSslOwned<BIO> text(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(text.get(), name, 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB);
  return TextOf(text.get());
}

std::vector<std::string> NamesOf(X509* certificate) {
  const int at = X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1);
  if (at < 0) return {};
  const OpenSslOwned<BIO> text(BIO_new(BIO_s_mem()));
  X509V3_EXT_print(text.get(), X509_get_ext(certificate, at), 0, 0);
  return absl::StrSplit(TextOf(text.get()), ", ");
}

}  // namespace

absl::StatusOr<KeyAndCertificate> MakeAuthority(const std::string& name, int days) {
  const OpenSslOwned<EVP_PKEY> key(EVP_EC_gen("P-256"));
  if (key == nullptr) return OutOfOrder("make a key");
  ASSIGN_OR_RETURN(const OpenSslOwned<X509> certificate, Blank(key.get(), name, days));
  X509* own = certificate.get();
  X509_set_issuer_name(own, X509_get_subject_name(own));
  RETURN_IF_ERROR(AddExtension(own, own, NID_basic_constraints, "critical,CA:TRUE,pathlen:0"));
  RETURN_IF_ERROR(AddExtension(own, own, NID_key_usage, "critical,keyCertSign,cRLSign"));
  RETURN_IF_ERROR(AddExtension(own, own, NID_subject_key_identifier, "hash"));
  if (X509_sign(own, key.get(), EVP_sha256()) == 0) return OutOfOrder("sign a certificate");
  return Write(key.get(), own);
}

absl::StatusOr<KeyAndCertificate> IssueCertificate(const KeyAndCertificate& authority,
                                                   const CertificateRequest& request) {
  const OpenSslOwned<X509> issuer(
      PEM_read_bio_X509(Memory(authority.certificate).get(), nullptr, nullptr, nullptr));
  const OpenSslOwned<EVP_PKEY> issuer_key(
      PEM_read_bio_PrivateKey(Memory(authority.key).get(), nullptr, nullptr, nullptr));
  if (issuer == nullptr || issuer_key == nullptr ||
      X509_check_private_key(issuer.get(), issuer_key.get()) != 1) {
    return absl::InvalidArgumentError("no authority: certificate and key do not belong together");
  }
  const OpenSslOwned<EVP_PKEY> key(EVP_EC_gen("P-256"));
  if (key == nullptr) return OutOfOrder("make a key");
  ASSIGN_OR_RETURN(const OpenSslOwned<X509> certificate,
                   Blank(key.get(), "headlong", request.days));
  X509* own = certificate.get();
  X509_set_issuer_name(own, X509_get_subject_name(issuer.get()));
  std::vector<std::string> names = {absl::StrCat("URI:", request.identity)};
  for (const std::string& host : request.hosts) names.push_back(AlternativeName(host));
  RETURN_IF_ERROR(AddExtension(own, issuer.get(), NID_basic_constraints, "critical,CA:FALSE"));
  RETURN_IF_ERROR(AddExtension(own, issuer.get(), NID_key_usage, "critical,digitalSignature"));
  RETURN_IF_ERROR(AddExtension(own, issuer.get(), NID_ext_key_usage, "serverAuth,clientAuth"));
  RETURN_IF_ERROR(AddExtension(own, issuer.get(), NID_subject_alt_name, absl::StrJoin(names, ",")));
  if (X509_sign(own, issuer_key.get(), EVP_sha256()) == 0) return OutOfOrder("sign a certificate");
  return Write(key.get(), own);
}

absl::StatusOr<CertificateSummary> DescribeCertificate(const std::string& pem) {
  const OpenSslOwned<X509> certificate(
      PEM_read_bio_X509(Memory(pem).get(), nullptr, nullptr, nullptr));
  if (certificate == nullptr) return absl::InvalidArgumentError("holds no PEM certificate");
  CertificateSummary summary;
  summary.subject = Line(X509_get_subject_name(certificate.get()));
  summary.issuer = Line(X509_get_issuer_name(certificate.get()));
  summary.names = NamesOf(certificate.get());
  summary.not_before = TimeText(X509_get0_notBefore(certificate.get()));
  summary.not_after = TimeText(X509_get0_notAfter(certificate.get()));
  int days = 0;
  int seconds = 0;
  ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(certificate.get()));
  summary.days_left = days + static_cast<double>(seconds) / kDay;
  summary.authority = X509_check_ca(certificate.get()) == 1;
  return summary;
}

}  // namespace headlong
