#include "common/health_server.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/server_builder.h"

namespace headlong {
namespace {

constexpr int kMaxMessageBytes = 4 << 10;
constexpr int kMaxMetadataBytes = 8 << 10;

}  // namespace

absl::StatusOr<std::unique_ptr<HealthServer>> HealthServer::Start(const std::string& address) {
  grpc::EnableDefaultHealthCheckService(true);
  std::unique_ptr<HealthServer> health(new HealthServer);
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &health->port_);
  health->server_ = builder.BuildAndStart();
  if (health->server_ == nullptr || health->port_ == 0) {
    return absl::UnavailableError(absl::StrCat(
        "--health-listen: cannot listen on ", address,
        ": the port is in use or the address is not of this machine; choose another one"));
  }
  auto* service = health->server_->GetHealthCheckService();
  service->SetServingStatus("liveness", true);
  service->SetServingStatus("startup", false);
  health->SetReady(false);
  return health;
}

HealthServer::~HealthServer() {
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
}

void HealthServer::SetStarted() {
  server_->GetHealthCheckService()->SetServingStatus("startup", true);
}

void HealthServer::SetReady(bool ready) {
  for (const char* name : {"", "readiness"}) {
    server_->GetHealthCheckService()->SetServingStatus(name, ready);
  }
}

}  // namespace headlong
