#include "cache/storage.h"

#include "common/status.h"

namespace headlong {

absl::StatusOr<Storage> PlainStorageFromName(std::string_view name) {
  for (Storage storage : {Storage::kFloat32, Storage::kBfloat16, Storage::kFloat16}) {
    if (name == StorageName(storage)) return storage;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("storage type \"", Av(name), "\" is not one of fp32, bf16, fp16"));
}

absl::StatusOr<Storage> StorageFromName(std::string_view name) {
  for (Storage storage : {Storage::kFloat8, Storage::kInt8, Storage::kInt4}) {
    if (name == StorageName(storage)) return storage;
  }
  if (const auto plain = PlainStorageFromName(name); plain.ok()) return plain;
  return absl::InvalidArgumentError(absl::StrCat(
      "storage type \"", Av(name), "\" is not one of fp32, bf16, fp16, fp8, int8, int4"));
}

std::string_view StorageName(Storage storage) {
  switch (storage) {
    case Storage::kFloat32:
      return "fp32";
    case Storage::kBfloat16:
      return "bf16";
    case Storage::kFloat16:
      return "fp16";
    case Storage::kFloat8:
      return "fp8";
    case Storage::kInt8:
      return "int8";
    case Storage::kInt4:
      return "int4";
  }
  return "unknown";
}

}  // namespace headlong
