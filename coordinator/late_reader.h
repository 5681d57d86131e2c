// Methods of one request, of which somebody hears before the request is there. gRPC reads the
// message of such a call first and tells of the call afterwards, so that ConnectionGuard could not
// tell an honest one of some megabytes from headers without end. Here they are methods of streams
// that read one message: the same on the wire, to the service and in what clients see.
#pragma once

#include <memory>
#include <string_view>

#include "google/protobuf/descriptor.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/impl/codegen/server_callback_handlers.h"

namespace headlong {

// For grpc::Service::MarkMethodStreamed, which takes ownership: reads, then lets `handler` handle
// the call.
grpc::internal::MethodHandler* ReadLate(std::unique_ptr<grpc::internal::MethodHandler> handler);

template <typename Service, typename Request, typename Response>
grpc::internal::MethodHandler* LateUnary(
    Service* service, grpc::ServerUnaryReactor* (Service::*method)(grpc::CallbackServerContext*,
                                                                   const Request*, Response*)) {
  return ReadLate(std::make_unique<grpc::internal::CallbackUnaryHandler<Request, Response>>(
      [service, method](grpc::CallbackServerContext* context, const Request* request,
                        Response* response) {
        return (service->*method)(context, request, response);
      }));
}

template <typename Service, typename Request, typename Response>
grpc::internal::MethodHandler* LateStream(Service* service,
                                          grpc::ServerWriteReactor<Response>* (Service::*method)(
                                              grpc::CallbackServerContext*, const Request*)) {
  return ReadLate(
      std::make_unique<grpc::internal::CallbackServerStreamingHandler<Request, Response>>(
          [service, method](grpc::CallbackServerContext* context, const Request* request) {
            return (service->*method)(context, request);
          }));
}

// The number by which a generated service knows its method. Both exist in `file`.
int MethodIndex(const google::protobuf::FileDescriptor& file, std::string_view service,
                std::string_view method);

}  // namespace headlong
