// GET /metrics over plain HTTP, for Prometheus. Numbers about the service, no content.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "prometheus/exposer.h"

namespace headlong {

// UNAVAILABLE names --metrics-listen when `address` cannot be had.
absl::StatusOr<std::unique_ptr<prometheus::Exposer>> ListenForMetrics(const std::string& address);

}  // namespace headlong
