// The projections of a head that lose least of what calibration text made of it. Pure.
#pragma once

#include <vector>

#include "cache/projections.h"

namespace headlong {

// Second moments, not centred, of what one head computed over a text: sums of x x^T over tokens.
// Queries and keys after rotary embedding.
struct HeadSpectra {
  std::vector<double> queries;  // [head_dim][head_dim], over the queries of the group
  std::vector<double> keys;
  std::vector<double> values;
};

// Keys and queries on the directions that hold most of both, each scaled to the same whole: what
// is cut off is then small in one of the two, and in their product (Eigen Attention, Saxena et al.
// 2024, arXiv 2408.05646). Values on the directions that hold most of them. A side whose rank is 0
// is left alone. The directions are mixed evenly (a discrete cosine transform) so that all stored
// numbers have about the same size, which codes with one scale per token need.
HeadProjections FitProjections(const HeadSpectra& spectra, LaneRank rank, int head_dim);

// The share of the moments' sum that `rank` directions of these hold; in [0, 1].
double KeptShare(const std::vector<double>& moments, int rank, int head_dim);

}  // namespace headlong
