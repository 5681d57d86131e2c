// GET /metrics over HTTP: what RequestMetrics counted and the state of the cluster at that moment.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "coordinator/engine.h"
#include "coordinator/request_metrics.h"

namespace headlong {

class MetricsServer {
 public:
  // `engine` outlives the server. UNAVAILABLE names the flag when `address` cannot be had.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const std::string& address,
                                                              Engine* engine);
  virtual ~MetricsServer() = default;

  virtual RequestMetrics& requests() = 0;
  virtual int port() const = 0;
};

}  // namespace headlong
