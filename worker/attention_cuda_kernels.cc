#include "worker/attention_cuda_kernels.h"

#include <algorithm>
#include <set>
#include <utility>

#include "common/status.h"
#include "worker/kernels/prefill_cuda.h"

namespace headlong {
namespace {

constexpr int kMostRows = 65535;  // of a launch: blocks in y

absl::Status CheckShape(const AttentionShape& attention) {
  const int d = attention.head_dim;
  if (d != 64 && d != 80 && d != 96 && d != 128 && d != 256) {
    return absl::InvalidArgumentError(
        absl::StrCat("head_dim ", d, ": attention on a GPU takes 64, 80, 96, 128 or 256"));
  }
  if (attention.group < 1 || attention.group > cuda::kMaxGroup) {
    return absl::InvalidArgumentError(
        absl::StrCat(attention.group, " query heads per KV head: attention on a GPU takes 1 to ",
                     cuda::kMaxGroup));
  }
  if (attention.max_rows > kMostRows) {
    return absl::InvalidArgumentError(absl::StrCat("max_batch_tokens ", attention.max_rows,
                                                   ": attention on a GPU takes at most ", kMostRows,
                                                   " in a step"));
  }
  if (std::ssize(attention.inverse_frequencies) != d / 2) {
    return absl::InvalidArgumentError(
        absl::StrCat(attention.inverse_frequencies.size(), " rotary frequencies for head_dim ", d));
  }
  return absl::OkStatus();
}

// All owners of a split head must agree on who reads its plain first tokens: with one page of them
// it is the page's owner.
absl::Status CheckSinks(const CacheShape& cache) {
  for (const LaneClass& lane_class : *cache.classes) {
    const HeadPolicy& policy = cache.plan->policies()[lane_class.policy];
    if (lane_class.stripes.whole() || policy.sinks <= kFullPageTokens) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("policy \"", policy.name, "\": sinks ", policy.sinks,
                     " of a head that is split: GPUs take at most ", kFullPageTokens));
  }
  return absl::OkStatus();
}

}  // namespace

// A launch for plain rows, and one for each other pair of types that occurs.
absl::StatusOr<AttentionMemory::Kernels> ChooseKernels(const AttentionShape& attention,
                                                       const CacheShape& cache) {
  RETURN_IF_ERROR(CheckShape(attention));
  RETURN_IF_ERROR(CheckSinks(cache));
  AttentionMemory::Kernels kernels;
  kernels.shape.type = cache.storage == Storage::kFloat32   ? cuda::ElementType::kFloat32
                       : cache.storage == Storage::kFloat16 ? cuda::ElementType::kFloat16
                                                            : cuda::ElementType::kBfloat16;
  kernels.shape.head_dim = attention.head_dim;
  kernels.shape.group = attention.group;
  kernels.tile_positions = cuda::PreparePrefill(kernels.shape);
  std::set<std::pair<Storage, Storage>> pairs;
  for (const LaneClass& lane_class : *cache.classes) {
    const LaneFormat format = lane_class.rule(*cache.plan, attention.max_context)
                                  .format(attention.head_dim, cache.storage);
    if (format == PlainFormat(cache.storage, attention.head_dim)) continue;
    pairs.insert({format.keys.type, format.values.type});
  }
  kernels.decode_shapes = {kernels.shape};
  for (const auto& [keys, values] : pairs) {
    cuda::DecodeShape shape = kernels.shape;
    shape.plain = false;
    shape.keys = keys;
    shape.values = values;
    kernels.decode_shapes.push_back(shape);
  }
  bool runs = kernels.tile_positions > 0;
  for (const cuda::DecodeShape& shape : kernels.decode_shapes) {
    kernels.decode_ctas.push_back(cuda::PrepareDecode(shape));
    kernels.most_ctas = std::max(kernels.most_ctas, kernels.decode_ctas.back());
    runs = runs && kernels.decode_ctas.back() > 0;
  }
  if (runs) return kernels;
  cudaGetLastError();  // it is told here, and by no later call
  return absl::FailedPreconditionError(
      "attention: no GPU of compute capability 9.0 runs its kernels");
}

}  // namespace headlong
