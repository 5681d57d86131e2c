#include "worker/kernels/cublaslt.h"

#include "common/status.h"
#include "worker/kernels/cuda_library.h"

namespace headlong::cuda {
namespace {

constexpr char kFileName[] = "libcublasLt.so.13";

absl::StatusOr<CublasLt> Open() {
  ASSIGN_OR_RETURN(void* const library, OpenLibrary(kFileName));
  CublasLt lt;
  const auto bind = [library](const char* symbol, auto& function) {
    return BindFunction(library, kFileName, symbol, function);
  };
  RETURN_IF_ERROR(bind("cublasLtCreate", lt.create));
  RETURN_IF_ERROR(bind("cublasLtDestroy", lt.destroy));
  RETURN_IF_ERROR(bind("cublasLtMatmul", lt.matmul));
  RETURN_IF_ERROR(bind("cublasLtMatmulDescCreate", lt.desc_create));
  RETURN_IF_ERROR(bind("cublasLtMatmulDescDestroy", lt.desc_destroy));
  RETURN_IF_ERROR(bind("cublasLtMatmulDescSetAttribute", lt.desc_set));
  RETURN_IF_ERROR(bind("cublasLtMatrixLayoutCreate", lt.layout_create));
  RETURN_IF_ERROR(bind("cublasLtMatrixLayoutDestroy", lt.layout_destroy));
  RETURN_IF_ERROR(bind("cublasLtMatrixLayoutSetAttribute", lt.layout_set));
  RETURN_IF_ERROR(bind("cublasLtMatmulPreferenceCreate", lt.preference_create));
  RETURN_IF_ERROR(bind("cublasLtMatmulPreferenceDestroy", lt.preference_destroy));
  RETURN_IF_ERROR(bind("cublasLtMatmulPreferenceSetAttribute", lt.preference_set));
  RETURN_IF_ERROR(bind("cublasLtMatmulAlgoGetHeuristic", lt.heuristic));
  return lt;
}

}  // namespace

absl::StatusOr<const CublasLt*> CublasLt::Get() {
  static const absl::StatusOr<CublasLt> table = Open();
  RETURN_IF_ERROR(table.status());
  return &*table;
}

}  // namespace headlong::cuda
