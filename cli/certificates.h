// Certificates for clusters that have nobody else to sign them: one authority per cluster, ECDSA
// P-256. Text is PEM. Pure but for the clock and the random numbers of OpenSSL.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace headlong {

struct KeyAndCertificate {
  std::string key;
  std::string certificate;
};

struct CertificateRequest {
  std::string identity;            // the URI that names its holder
  std::vector<std::string> hosts;  // names and addresses that it is dialled by
  int days = 90;
};

absl::StatusOr<KeyAndCertificate> MakeAuthority(const std::string& name, int days);

// INVALID_ARGUMENT when the authority is none, or a host is neither a name nor an address.
absl::StatusOr<KeyAndCertificate> IssueCertificate(const KeyAndCertificate& authority,
                                                   const CertificateRequest& request);

struct CertificateSummary {
  std::string subject;
  std::string issuer;
  std::vector<std::string> names;  // "URI:...", "DNS:...", "IP Address:..."
  std::string not_before;          // "2026-01-31 12:00 UTC"
  std::string not_after;
  double days_left = 0;  // below 0: expired
  bool authority = false;
};

// INVALID_ARGUMENT when the text holds no certificate.
absl::StatusOr<CertificateSummary> DescribeCertificate(const std::string& pem);

}  // namespace headlong
