// What calibration asks of a prompt while it is computed: distributions kept and compared,
// attention summed up. Host memory; one owner, the step thread; what is kept outlives epochs.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace headlong {

// Log-probabilities of rows under the numbers that probes give them.
class KeptDistributions {
 public:
  static constexpr int64_t kMostBytes = int64_t{1} << 30;

  // Forgets what was kept under `number`: a probe that keeps begins.
  void Begin(uint32_t number) { kept_[number].clear(); }
  // Keeps another row. RESOURCE_EXHAUSTED beyond kMostBytes.
  absl::Status Keep(uint32_t number, std::span<const float> logits);
  // KL(kept || these) of the row-th one, in nats. FAILED_PRECONDITION when there is none.
  absl::StatusOr<double> Compare(uint32_t number, size_t row, std::span<const float> logits) const;

 private:
  std::map<uint32_t, std::vector<std::vector<float>>> kept_;
  int64_t bytes() const;
};

// log softmax, in fp64. Pure.
std::vector<float> LogProbabilities(std::span<const float> logits);

// Over rows, the cosine between x and x + added, summed; a row of zeros counts 1. Both: [rows][..].
double SumOfCosines(std::span<const float> x, std::span<const float> added, int rows);

// Second moments of what one head computed: sums of x x^T over tokens, the lower triangle by rows.
struct HeadMoments {
  int layer = 0;
  int head = 0;  // KV head of the model
  std::vector<double> queries;
  std::vector<double> keys;
  std::vector<double> values;
};

// Those of all heads of a prompt so far.
class MomentsByHead {
 public:
  HeadMoments& Of(int layer, int head) {
    HeadMoments& moments = heads_[{layer, head}];
    moments.layer = layer;
    moments.head = head;
    return moments;
  }

  // Layer by layer, and forgets them.
  std::vector<HeadMoments> Take() {
    std::vector<HeadMoments> result;
    for (auto& [place, moments] : heads_) result.push_back(std::move(moments));
    heads_.clear();
    return result;
  }

 private:
  std::map<std::pair<int, int>, HeadMoments> heads_;
};

// One query head's attention, summed over rows.
struct AttentionSums {
  int layer = 0;
  int query_head = 0;  // of the model
  double echo = 0;
  double induction = 0;
  int64_t copied = 0;  // rows whose largest weight is where their token is copied from
};

}  // namespace headlong
