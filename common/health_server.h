// grpc.health.v1 on a plaintext port of its own, for probes that hold no certificate: services
// "startup", "liveness" and "readiness". Nothing else is answered there. Any thread.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/server.h"

namespace headlong {

class HealthServer {
 public:
  // Alive from here on, neither started nor ready. UNAVAILABLE names --health-listen when `address`
  // cannot be had.
  static absl::StatusOr<std::unique_ptr<HealthServer>> Start(const std::string& address);
  ~HealthServer();

  void SetStarted();
  void SetReady(bool ready);
  int port() const { return port_; }

 private:
  HealthServer() = default;

  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace headlong
