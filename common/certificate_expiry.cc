#include "common/certificate_expiry.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <map>
#include <string>
#include <utility>

#include "common/x509.h"

namespace headlong {
namespace {

// {serial: end} of all certificates of a PEM file.
std::map<std::string, int64_t> EndsOf(const std::string& path) {
  std::map<std::string, int64_t> ends;
  const OpenSslOwned<BIO> file(BIO_new_file(path.c_str(), "r"));
  while (file != nullptr) {
    const OpenSslOwned<X509> certificate(PEM_read_bio_X509(file.get(), nullptr, nullptr, nullptr));
    if (certificate == nullptr) break;
    ends[SerialText(certificate.get())] = UnixSeconds(X509_get0_notAfter(certificate.get()));
  }
  ERR_clear_error();  // the end of the file is one, too
  return ends;
}

}  // namespace

CertificateExpiry::CertificateExpiry(TlsFiles files, Labels labels)
    : files_(std::move(files)), labels_(std::move(labels)) {}

std::vector<prometheus::MetricFamily> CertificateExpiry::Collect() const {
  prometheus::MetricFamily family{"headlong_cert_expiry_timestamp_seconds",
                                  "When a certificate ends, in seconds since 1970",
                                  prometheus::MetricType::Gauge,
                                  {}};
  const auto add = [&](const char* what, const std::string& path) {
    if (path.empty()) return;
    for (const auto& [serial, end] : EndsOf(path)) {
      prometheus::ClientMetric metric;
      metric.label = labels_;
      metric.label.push_back({"certificate", what});
      metric.label.push_back({"serial", serial});
      metric.gauge.value = static_cast<double>(end);
      family.metric.push_back(std::move(metric));
    }
  };
  add("own", files_.cert);
  add("authority", files_.ca);
  if (family.metric.empty()) return {};
  return {std::move(family)};
}

}  // namespace headlong
