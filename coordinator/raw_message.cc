#include "coordinator/raw_message.h"

#include "common/status.h"
#include "google/protobuf/empty.pb.h"
#include "google/protobuf/unknown_field_set.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "grpcpp/support/proto_buffer_writer.h"
#include "model/utf8.h"

namespace headlong {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::UnknownField;

bool Parse(const grpc::ByteBuffer& bytes, google::protobuf::Message& message) {
  grpc::ByteBuffer read = bytes;  // the reader uses it up
  grpc::ProtoBufferReader reader(&read);
  return reader.status().ok() && message.ParseFromZeroCopyStream(&reader);
}

}  // namespace

absl::Status ParseRaw(const grpc::ByteBuffer& bytes, google::protobuf::Message& message) {
  if (Parse(bytes, message)) return absl::OkStatus();
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  // A message without fields keeps all of them as they came.
  google::protobuf::Empty fields;
  if (Parse(bytes, fields)) {
    const auto& unknown = fields.GetReflection()->GetUnknownFields(fields);
    for (int i = 0; i < unknown.field_count(); ++i) {
      if (unknown.field(i).type() != UnknownField::TYPE_LENGTH_DELIMITED) continue;
      const FieldDescriptor* field = type.FindFieldByNumber(unknown.field(i).number());
      if (field == nullptr || field->type() != FieldDescriptor::TYPE_STRING) continue;
      const std::string& text = unknown.field(i).length_delimited();
      const size_t valid = ValidUtf8Prefix(text);
      if (valid == text.size()) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(field->name(), ": must be UTF-8, the byte at ", valid, " is not"));
    }
  }
  return absl::InvalidArgumentError(absl::StrCat("the request is not a ", type.full_name()));
}

grpc::ByteBuffer ToRaw(const google::protobuf::Message& message) {
  grpc::ByteBuffer bytes;
  bool own = false;
  grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(message, &bytes, &own);
  return bytes;
}

}  // namespace headlong
