#include "worker/kernels/cublaslt.h"

#include "common/status.h"
#include "worker/kernels/cuda_library.h"

namespace headlong::cuda {
namespace {

constexpr char kFileName[] = "libcublasLt.so.13";

template <typename Function>
absl::Status Bind(void* library, const char* symbol, Function& function) {
  ASSIGN_OR_RETURN(void* const address, FindSymbol(library, kFileName, symbol));
  function = reinterpret_cast<Function>(address);
  return absl::OkStatus();
}

absl::StatusOr<CublasLt> Open() {
  ASSIGN_OR_RETURN(void* const library, OpenLibrary(kFileName));
  CublasLt lt;
  RETURN_IF_ERROR(Bind(library, "cublasLtCreate", lt.create));
  RETURN_IF_ERROR(Bind(library, "cublasLtDestroy", lt.destroy));
  RETURN_IF_ERROR(Bind(library, "cublasLtMatmul", lt.matmul));
  RETURN_IF_ERROR(Bind(library, "cublasLtMatmulDescCreate", lt.desc_create));
  RETURN_IF_ERROR(Bind(library, "cublasLtMatmulDescDestroy", lt.desc_destroy));
  RETURN_IF_ERROR(Bind(library, "cublasLtMatmulDescSetAttribute", lt.desc_set));
  RETURN_IF_ERROR(Bind(library, "cublasLtMatrixLayoutCreate", lt.layout_create));
  RETURN_IF_ERROR(Bind(library, "cublasLtMatrixLayoutDestroy", lt.layout_destroy));
  RETURN_IF_ERROR(Bind(library, "cublasLtMatrixLayoutSetAttribute", lt.layout_set));
  RETURN_IF_ERROR(Bind(library, "cublasLtMatmulPreferenceCreate", lt.preference_create));
  RETURN_IF_ERROR(Bind(library, "cublasLtMatmulPreferenceDestroy", lt.preference_destroy));
  RETURN_IF_ERROR(Bind(library, "cublasLtMatmulPreferenceSetAttribute", lt.preference_set));
  RETURN_IF_ERROR(Bind(library, "cublasLtMatmulAlgoGetHeuristic", lt.heuristic));
  return lt;
}

}  // namespace

absl::StatusOr<const CublasLt*> CublasLt::Get() {
  static const absl::StatusOr<CublasLt> table = Open();
  RETURN_IF_ERROR(table.status());
  return &*table;
}

}  // namespace headlong::cuda
