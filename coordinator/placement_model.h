// The cost model of placements: what each part of a model weighs and how long a worker takes for
// it. Seconds and bytes; pure, immutable.
//
// Heads of one layer and policy are alike: a layer's placement names them by kind and slot (the
// how-manieth head of the kind in the layer), not by number.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/stripes.h"
#include "coordinator/placement.h"

namespace headlong {

// What one worker holds of one head of a layer.
struct HeadPart {
  int kind = 0;
  int slot = 0;
  int worker = 0;
  StripeRange stripes = {};
};
using LayerParts = std::vector<HeadPart>;

// Heads with the same policy.
struct HeadKind {
  int policy = 0;
  bool full = false;
  int64_t weight_bytes = 0;
  int64_t reserved_bytes = 0;  // cache of one lane, for all the sequences held
  double read_bytes = 0;       // cache of one lane, by a decode step of the workload
  int64_t bytes() const { return weight_bytes + reserved_bytes; }
};

// Parts of the model that can be cut anywhere: MLP columns of all layers, vocabulary rows.
struct FluidPart {
  int64_t units = 0;
  int64_t unit_bytes = 0;  // of memory
  int64_t unit_read = 0;   // bytes a step reads of it
  int64_t bytes() const { return units * unit_bytes; }
};

class PlacementModel {
 public:
  // `sequences` >= 1 of max_context get pages in retrieval classes; a fraction is part of one.
  PlacementModel(const PlacementProblem& problem, double sequences);

  const PlacementProblem& problem() const { return *problem_; }
  double sequences() const { return sequences_; }
  double concurrency() const { return concurrency_; }
  int workers() const { return static_cast<int>(room_.size()); }
  int layers() const { return static_cast<int>(heads_.size()); }
  const std::vector<HeadKind>& kinds() const { return kinds_; }
  int heads(int layer, int kind) const { return heads_[layer][kind]; }
  // Memory beside what every worker has (scratch and norms); may be negative.
  const std::vector<int64_t>& room() const { return room_; }
  const FluidPart& columns() const { return columns_; }  // of all layers together
  const FluidPart& rows() const { return rows_; }
  int column_unit() const { return column_unit_; }  // columns that stay together

  // Bytes of a part, weights and pages for sequences().
  int64_t PartBytes(int kind, const StripeRange& stripes) const;
  // Pages of one lane class for sequences().
  int64_t PagesFor(int policy, const StripeRange& stripes) const;
  // Time of the projections of a head, and of reading a whole lane of the kind.
  double WeightSeconds(int worker, int kind) const;
  double LaneSeconds(int worker, int kind) const;
  double PartSeconds(int worker, int kind, const StripeRange& stripes) const;
  double FluidSeconds(int worker, double read_bytes) const;
  // Bytes of the whole model per second, on this worker alone.
  double Speed(int worker) const { return speeds_[worker]; }

  // Slowest worker of a layer, with the exchange where heads are split.
  double LayerSeconds(const LayerParts& parts) const;
  double ExchangeSeconds(int split_heads) const;
  double SumsSeconds() const;   // of a whole step
  double FixedSeconds() const;  // of a whole step, wherever things are

  // Fluid optimum of columns and rows in the memory that is left; infinite when they do not fit.
  double FluidStepSeconds(std::span<const int64_t> left) const;
  int64_t FluidBytes() const { return columns_.bytes() + rows_.bytes(); }
  int64_t LayerBytes(int layer) const;  // all heads whole
  int64_t TotalBytes() const;

 private:
  void FillKinds();
  void FillRates();
  double SumSeconds(double bytes) const;

  const PlacementProblem* problem_;
  const double sequences_;
  double concurrency_ = 1;
  std::vector<HeadKind> kinds_;
  std::vector<std::vector<int>> heads_;  // [layer][kind]
  std::vector<int64_t> room_;
  FluidPart columns_;
  FluidPart rows_;
  int column_unit_ = 1;
  std::vector<double> weight_s_;              // per byte of weights
  std::vector<double> cache_s_;               // per byte of cache
  std::vector<std::vector<double>> chunk_s_;  // [kind][worker] attention of a step's prompt rows
  std::vector<double> speeds_;
};

// The smallest t >= 0 with sum over i of min(caps[i], speeds[i] * t) >= work; infinite when the
// caps are too small together. Negative caps count as 0.
double FillLevel(double work, std::span<const double> speeds, std::span<const int64_t> caps);

}  // namespace headlong
