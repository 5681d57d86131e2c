#include "coordinator/calibration/projection_fit.h"

#include <Eigen/Eigenvalues>
#include <cmath>
#include <numbers>

namespace headlong {
namespace {

using Matrix = Eigen::MatrixXd;

Matrix MatrixOf(const std::vector<double>& moments, int dims) {
  return Eigen::Map<const Matrix>(moments.data(), dims, dims);
}

// Of trace 1; zeros stay zeros.
Matrix Scaled(const Matrix& moments) {
  const double trace = moments.trace();
  return trace > 0 ? Matrix(moments / trace) : moments;
}

// [rank][rank], orthonormal: the discrete cosine transform DCT-II.
Matrix Mix(int rank) {
  Matrix mix(rank, rank);
  for (int k = 0; k < rank; ++k) {
    const double scale = std::sqrt((k == 0 ? 1.0 : 2.0) / rank);
    for (int i = 0; i < rank; ++i) {
      mix(k, i) = scale * std::cos(std::numbers::pi * (i + 0.5) * k / rank);
    }
  }
  return mix.transpose();  // each stored number has a part of every direction
}

// The directions of most moment, mixed. [rank][dims], row-major.
std::vector<float> Rows(const Matrix& moments, int rank) {
  const auto dims = moments.rows();
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(moments);  // ascending
  const Matrix rows = Mix(rank) * solver.eigenvectors().rightCols(rank).transpose();
  std::vector<float> result;
  for (int r = 0; r < rank; ++r) {
    for (Eigen::Index i = 0; i < dims; ++i) result.push_back(static_cast<float>(rows(r, i)));
  }
  return result;
}

}  // namespace

HeadProjections FitProjections(const HeadSpectra& spectra, LaneRank rank, int head_dim) {
  HeadProjections head;
  if (rank.keys > 0) {
    const Matrix both =
        Scaled(MatrixOf(spectra.queries, head_dim)) + Scaled(MatrixOf(spectra.keys, head_dim));
    head.keys = Rows(both, rank.keys);
  }
  if (rank.values > 0) head.values = Rows(MatrixOf(spectra.values, head_dim), rank.values);
  return head;
}

double KeptShare(const std::vector<double>& moments, int rank, int head_dim) {
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(MatrixOf(moments, head_dim),
                                                     Eigen::EigenvaluesOnly);
  const double all = solver.eigenvalues().sum();
  return all > 0 ? solver.eigenvalues().tail(rank).sum() / all : 1;
}

}  // namespace headlong
