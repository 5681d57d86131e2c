#include "coordinator/calibration/alibi_scope.h"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "model/family_tensors.h"

namespace headlong {
namespace {

using Matrix = Eigen::MatrixXd;
using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// W W^T, [head_dim][head_dim].
Matrix Gram(std::span<const float> weights, int head_dim) {
  const auto columns = static_cast<Eigen::Index>(weights.size()) / head_dim;
  const Matrix wide = Eigen::Map<const Rows>(weights.data(), head_dim, columns).cast<double>();
  Matrix gram = Matrix::Zero(head_dim, head_dim);
  gram.selfadjointView<Eigen::Lower>().rankUpdate(wide);
  return gram.selfadjointView<Eigen::Lower>();
}

std::vector<float> ReadRows(const Checkpoint& checkpoint, const TensorRows& rows, int64_t columns) {
  const TensorView& tensor = checkpoint.tensor(rows.name + ".weight");
  std::vector<float> values((rows.end - rows.begin) * columns);
  ToFloat32(tensor, rows.begin * columns, std::ssize(values), values.data());
  return values;
}

double SquaresOf(const TensorView& tensor) {
  std::vector<float> values(tensor.elements());
  ToFloat32(tensor, 0, tensor.elements(), values.data());
  double sum = 0;
  for (const float value : values) sum += double{value} * value;
  return sum;
}

// Nothing: keeps everything.
std::optional<int64_t> WindowOf(double scope, const ScopeRule& rule) {
  if (!(scope < static_cast<double>(rule.context))) return std::nullopt;
  const auto least = std::max<int64_t>(static_cast<int64_t>(std::ceil(scope)), 1);
  if (!rule.windows.empty()) {
    std::optional<int64_t> window;
    for (const int64_t each : rule.windows) {
      if (each >= least && each < window.value_or(rule.context)) window = each;
    }
    return window;
  }
  const auto octave = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(least)));
  const int64_t step = std::max<int64_t>(octave / 8, kBlockTokens);
  const int64_t window = (least + step - 1) / step * step;
  return window < rule.context ? std::optional(window) : std::nullopt;
}

}  // namespace

double ProductNorm(std::span<const float> query, std::span<const float> key, int head_dim) {
  // The squares of W_Q^T W_K's singular values are the eigenvalues of (W_Q W_Q^T) (W_K W_K^T), and
  // so of its symmetric form R (W_Q W_Q^T) R with R R = W_K W_K^T.
  const Eigen::SelfAdjointEigenSolver<Matrix> keys(Gram(key, head_dim));
  const Eigen::VectorXd roots = keys.eigenvalues().cwiseMax(0).cwiseSqrt();
  const Matrix root = keys.eigenvectors() * roots.asDiagonal() * keys.eigenvectors().transpose();
  const Eigen::SelfAdjointEigenSolver<Matrix> both(root * Gram(query, head_dim) * root,
                                                   Eigen::EigenvaluesOnly);
  return std::sqrt(std::max(both.eigenvalues().maxCoeff(), 0.0));
}

double AlibiScope(double product_norm, double norm_squares, double slope, double epsilon) {
  return (2 * product_norm * norm_squares - std::log(epsilon)) / slope;
}

std::vector<double> AlibiScopes(const ModelConfig& config, const Checkpoint& checkpoint,
                                double epsilon) {
  const int64_t hidden = config.hidden_size, d = config.head_dim;
  std::vector<double> scopes;
  for (int layer = 0; layer < config.layers; ++layer) {
    // The norm of a family with ALiBi has no bias: of |gamma|^2 + |b|^2 the first.
    const double squares = SquaresOf(checkpoint.tensor(LayerTensors(config, layer).attention_norm));
    for (int head = 0; head < config.kv_heads; ++head) {
      const auto rows = [&](Projection part) {
        return ReadRows(checkpoint, ProjectionRows(config, layer, part, head), hidden);
      };
      const std::vector<float> queries = rows(Projection::kQuery), key = rows(Projection::kKey);
      double scope = 0;
      for (int q = 0; q < config.group(); ++q) {
        const auto query = std::span(queries).subspan(q * d * hidden, d * hidden);
        const double norm = ProductNorm(query, key, config.head_dim) / std::sqrt(d);
        const float slope = config.alibi_slopes[head * config.group() + q];
        scope = std::max(scope, AlibiScope(norm, squares, slope, epsilon));
      }
      scopes.push_back(scope);
    }
  }
  return scopes;
}

Plan ScopePlan(const PlanShape& shape, const std::vector<double>& scopes, const ScopeRule& rule) {
  std::vector<HeadPolicy> heads;
  for (const double scope : scopes) {
    HeadPolicy policy;
    policy.window_tokens = WindowOf(scope, rule);
    policy.name = "retrieval";
    if (policy.window_tokens) {
      policy.name = absl::StrCat("window-", *policy.window_tokens);
      policy.compensation = Compensation::kNone;
    }
    heads.push_back(std::move(policy));
  }
  return Plan::FromPolicies(shape, heads);
}

}  // namespace headlong
