// What gRPC asks before a call reaches its service, on connections with TLS. Any thread.
#pragma once

#include <memory>

#include "coordinator/token_file.h"
#include "grpcpp/security/auth_metadata_processor.h"

namespace headlong {

// Workers are told by their certificate, and may call nothing but the worker link.
std::shared_ptr<grpc::AuthMetadataProcessor> MakeWorkerGate();

// Clients are told by access tokens. Refusals are logged, a few a second.
std::shared_ptr<grpc::AuthMetadataProcessor> MakeClientGate(std::shared_ptr<TokenFile> tokens);

}  // namespace headlong
