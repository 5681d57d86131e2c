#include "worker/kernels/matmul_cuda.h"

#include <algorithm>
#include <bit>

#include "common/status.h"
#include "worker/kernels/few_rows_cuda.h"

namespace headlong::cuda {
namespace {

constexpr int64_t kWorkspaceBytes = int64_t{64} << 20;

void CheckLt(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  std::fprintf(stderr, "cuBLASLt: %s: status %d\n", what, static_cast<int>(status));
  std::abort();
}

cudaDataType_t DataType(ElementType type) {
  return type == ElementType::kFloat32 ? CUDA_R_32F : CUDA_R_16BF;
}

// Powers of two: a plan made for the most rows of a bucket serves all of them.
int Bucket(int rows) { return static_cast<int>(std::bit_ceil(static_cast<unsigned>(rows))); }

FewRowsProduct FewRowsOf(const Product& product) {
  FewRowsProduct few;
  few.weights = static_cast<const uint16_t*>(product.weights);
  few.x = static_cast<const uint16_t*>(product.x);
  few.floats = product.floats;
  few.y = product.y;
  few.outputs = product.outputs;
  few.pitch = static_cast<int>(product.pitch);
  few.rows = product.rows;
  few.gated = product.gated;
  return few;
}

}  // namespace

bool HasFewRowsKernel(ElementType type, int64_t pitch, int rows) {
  return type == ElementType::kBfloat16 && rows <= kFewRows && pitch % kPitchStep == 0;
}

absl::StatusOr<std::unique_ptr<MatMul>> MatMul::Create(cudaStream_t stream) {
  ASSIGN_OR_RETURN(const CublasLt* const lt, CublasLt::Get());
  std::unique_ptr<MatMul> matmul(new MatMul(*lt, stream));
  const cublasStatus_t created = lt->create(&matmul->handle_);
  if (created != CUBLAS_STATUS_SUCCESS) {
    return absl::InternalError(absl::StrCat("cuBLASLt does not start: status ", created));
  }
  size_t free = 0, total = 0;
  CheckCuda(cudaMemGetInfo(&free, &total), "asking for free memory");
  if (static_cast<int64_t>(free) < 2 * kWorkspaceBytes) {
    return absl::ResourceExhaustedError(absl::StrCat("the GPU has ", free, " bytes free, not even ",
                                                     2 * kWorkspaceBytes, " for scratch"));
  }
  matmul->workspace_ = DeviceArray<std::byte>(kWorkspaceBytes);
  CheckLt(lt->desc_create(&matmul->description_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "descriptor");
  const cublasOperation_t transposed = CUBLAS_OP_T;
  CheckLt(lt->desc_set(matmul->description_, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                       sizeof transposed),
          "descriptor");
  CheckLt(lt->preference_create(&matmul->preference_), "preference");
  const size_t workspace = kWorkspaceBytes;
  CheckLt(lt->preference_set(matmul->preference_, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                             &workspace, sizeof workspace),
          "preference");
  return matmul;
}

MatMul::~MatMul() {
  for (const auto& [key, plan] : plans_) {
    for (cublasLtMatrixLayout_t layout : {plan.weights, plan.x, plan.y}) {
      lt_.layout_destroy(layout);
    }
  }
  if (preference_ != nullptr) lt_.preference_destroy(preference_);
  if (description_ != nullptr) lt_.desc_destroy(description_);
  if (handle_ != nullptr) lt_.destroy(handle_);
}

// The library counts in columns: what is [rows][columns] here is its columns x rows.
MatMul::Plan& MatMul::PlanFor(const Product& product, int row_count) {
  const Key key(product.type, product.outputs, product.pitch, row_count);
  const auto found = plans_.find(key);
  if (found != plans_.end()) return found->second;
  Plan plan;
  const cudaDataType_t type = DataType(product.type);
  const auto pitch = static_cast<uint64_t>(product.pitch);
  const auto outputs = static_cast<uint64_t>(product.outputs);
  const auto rows = static_cast<uint64_t>(row_count);
  CheckLt(lt_.layout_create(&plan.weights, type, pitch, outputs, product.pitch), "layout");
  CheckLt(lt_.layout_create(&plan.x, type, pitch, rows, product.pitch), "layout");
  CheckLt(lt_.layout_create(&plan.y, CUDA_R_32F, outputs, rows, product.outputs), "layout");
  cublasLtMatmulHeuristicResult_t best;
  int count = 0;
  CheckLt(lt_.heuristic(handle_, description_, plan.weights, plan.x, plan.y, plan.y, preference_, 1,
                        &best, &count),
          "choosing an algorithm");
  if (count == 0) CheckLt(CUBLAS_STATUS_NOT_SUPPORTED, "choosing an algorithm");
  plan.algorithm = best.algo;
  return plans_.emplace(key, plan).first->second;
}

void MatMul::Run(const Product& product) {
  if (product.rows == 0 || product.outputs == 0) return;
  if (HasFewRowsKernel(product.type, product.pitch, product.rows)) {
    return RunFewRows(FewRowsOf(product), stream_);
  }
  Plan& plan = PlanFor(product, Bucket(product.rows));
  cublasStatus_t status = CUBLAS_STATUS_NOT_SUPPORTED;
  if (plan.serves_fewer) status = RunPlan(plan, product);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED && product.rows != Bucket(product.rows)) {
    plan.serves_fewer = false;  // some algorithms are for one number of rows
    status = RunPlan(PlanFor(product, product.rows), product);
  }
  CheckLt(status, "product");
}

cublasStatus_t MatMul::RunPlan(const Plan& plan, const Product& product) {
  const auto rows = static_cast<uint64_t>(product.rows);
  for (cublasLtMatrixLayout_t layout : {plan.x, plan.y}) {
    CheckLt(lt_.layout_set(layout, CUBLASLT_MATRIX_LAYOUT_COLS, &rows, sizeof rows), "layout");
  }
  const float one = 1, zero = 0;
  return lt_.matmul(handle_, description_, &one, product.weights, plan.weights, product.x, plan.x,
                    &zero, product.y, plan.y, product.y, plan.y, &plan.algorithm, workspace_.get(),
                    kWorkspaceBytes, stream_);
}

}  // namespace headlong::cuda
