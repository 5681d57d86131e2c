// Messages as bytes, for methods whose requests hold text: gRPC answers what it cannot parse with
// an UNIMPLEMENTED that says nothing, and a string that is not UTF-8 does not parse. Pure.
#pragma once

#include "absl/status/status.h"
#include "google/protobuf/message.h"
#include "grpcpp/support/byte_buffer.h"

namespace headlong {

// INVALID_ARGUMENT names the string field that is not UTF-8, else the message's type.
absl::Status ParseRaw(const grpc::ByteBuffer& bytes, google::protobuf::Message& message);

grpc::ByteBuffer ToRaw(const google::protobuf::Message& message);

}  // namespace headlong
