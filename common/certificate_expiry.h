// When the certificates of this end and of its authority end, for /metrics. The files are read
// whenever somebody asks: gRPC looks at them again by itself (tls.h), so what they hold is in use.
// Thread-safe.
#pragma once

#include <vector>

#include "common/tls.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace headlong {

class CertificateExpiry final : public prometheus::Collectable {
 public:
  using Labels = std::vector<prometheus::ClientMetric::Label>;

  // `labels` are added to each series.
  explicit CertificateExpiry(TlsFiles files, Labels labels = {});

  // headlong_cert_expiry_timestamp_seconds: seconds since 1970 at which a certificate ends, by
  // `certificate` (own: of --tls-cert and what signed it; authority: of --tls-ca) and `serial`.
  // Nothing for files that are not given or cannot be read.
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const TlsFiles files_;
  const Labels labels_;
};

}  // namespace headlong
