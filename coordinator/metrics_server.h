// GET /metrics over HTTP: what RequestMetrics counted, the state of the cluster at that moment and
// when certificates end.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/tls.h"
#include "coordinator/engine.h"
#include "coordinator/request_metrics.h"

namespace headlong {

class MetricsServer {
 public:
  // `engine` outlives the server. UNAVAILABLE names the flag when `address` cannot be had.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const std::string& address,
                                                              Engine* engine, const TlsFiles& tls);
  virtual ~MetricsServer() = default;

  virtual RequestMetrics& requests() = 0;
  // Connections of a port ("client", "worker") that ConnectionGuard cut. The server's.
  virtual prometheus::Counter& CutConnections(const char* port) = 0;
  virtual int port() const = 0;
};

}  // namespace headlong
