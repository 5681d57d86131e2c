#include "worker/probe.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace headlong {

std::vector<float> LogProbabilities(std::span<const float> logits) {
  const float most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - most);
  const double shift = most + std::log(sum);
  std::vector<float> result(logits.size());
  std::transform(logits.begin(), logits.end(), result.begin(),
                 [shift](float logit) { return static_cast<float>(logit - shift); });
  return result;
}

double SumOfCosines(std::span<const float> x, std::span<const float> added, int rows) {
  const size_t width = x.size() / static_cast<size_t>(rows);
  std::vector<double> cosines(static_cast<size_t>(rows));
#pragma omp parallel for
  for (size_t row = 0; row < cosines.size(); ++row) {
    double dot = 0, before = 0, after = 0;
    for (size_t i = row * width; i < (row + 1) * width; ++i) {
      const double a = x[i], b = a + added[i];
      dot += a * b;
      before += a * a;
      after += b * b;
    }
    const double norms = std::sqrt(before * after);
    cosines[row] = norms > 0 ? dot / norms : 1;
  }
  return std::accumulate(cosines.begin(), cosines.end(), 0.0);
}

int64_t KeptDistributions::bytes() const {
  int64_t total = 0;
  for (const auto& [number, rows] : kept_) {
    for (const std::vector<float>& row : rows) total += std::ssize(row) * sizeof(float);
  }
  return total;
}

absl::Status KeptDistributions::Keep(uint32_t number, std::span<const float> logits) {
  const int64_t wanted = bytes() + std::ssize(logits) * static_cast<int64_t>(sizeof(float));
  if (wanted > kMostBytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "probe: distributions of ", wanted, " bytes are to be kept, ", kMostBytes, " can be"));
  }
  kept_[number].push_back(LogProbabilities(logits));
  return absl::OkStatus();
}

absl::StatusOr<double> KeptDistributions::Compare(uint32_t number, size_t row,
                                                  std::span<const float> logits) const {
  const auto kept = kept_.find(number);
  if (kept == kept_.end() || row >= kept->second.size() ||
      kept->second[row].size() != logits.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat("probe: nothing is kept under ", number, " for row ", row));
  }
  const std::vector<float>& reference = kept->second[row];
  const std::vector<float> now = LogProbabilities(logits);
  double kl = 0;
  for (size_t i = 0; i < now.size(); ++i) {
    if (std::isinf(reference[i])) continue;  // of probability 0
    kl += std::exp(static_cast<double>(reference[i])) * (double{reference[i]} - now[i]);
  }
  return kl;
}

}  // namespace headlong
