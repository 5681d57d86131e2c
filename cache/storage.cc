#include "cache/storage.h"

#include "common/status.h"

namespace headlong {

absl::StatusOr<Storage> StorageFromName(std::string_view name) {
  for (Storage storage : {Storage::kFloat32, Storage::kBfloat16}) {
    if (name == StorageName(storage)) return storage;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("storage type \"", Av(name), "\" is not one of fp32, bf16"));
}

std::string_view StorageName(Storage storage) {
  return storage == Storage::kFloat32 ? "fp32" : "bf16";
}

}  // namespace headlong
