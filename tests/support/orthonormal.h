// Random orthonormal rows, for tests of projections.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace headlong {

// [rank][dims], by Gram and Schmidt in fp64.
inline std::vector<float> RandomOrthonormal(uint64_t seed, int rank, int dims) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<std::vector<double>> rows;
  for (int r = 0; r < rank; ++r) {
    std::vector<double> row(dims);
    for (double& x : row) x = normal(random);
    for (const std::vector<double>& other : rows) {
      double dot = 0;
      for (int i = 0; i < dims; ++i) dot += row[i] * other[i];
      for (int i = 0; i < dims; ++i) row[i] -= dot * other[i];
    }
    double square = 0;
    for (const double x : row) square += x * x;
    for (double& x : row) x /= std::sqrt(square);
    rows.push_back(row);
  }
  std::vector<float> result;
  for (const std::vector<double>& row : rows) result.insert(result.end(), row.begin(), row.end());
  return result;
}

}  // namespace headlong
