// The projections that heads with a rank (LaneRank) store their keys and values in. Immutable once
// made; readable from any thread.
//
// A stored key is A k for the key k after rotary embedding, a query is met as A q, so that scores
// need no reconstruction; a stored value is C v, and the head's output C^T times the weighted sum.
// The rows of A and C are orthonormal: with as many rows as numbers nothing is lost.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/lane_storage.h"

namespace headlong {

struct HeadProjections {
  std::vector<float> keys;    // [rank.keys][head_dim]; empty: keys stay as they are
  std::vector<float> values;  // [rank.values][head_dim]; empty: values stay as they are
  bool operator==(const HeadProjections&) const = default;
};

class Projections {
 public:
  using Heads = std::map<std::pair<int, int>, HeadProjections>;  // by layer and KV head

  // INVALID_ARGUMENT names the head whose basis has no whole rows, more rows than numbers, a number
  // that is not finite, or rows that are not orthonormal (to kOrthonormal).
  static absl::StatusOr<std::shared_ptr<const Projections>> Create(int head_dim, Heads heads);

  static constexpr double kOrthonormal = 1e-3;

  int head_dim() const { return head_dim_; }
  const Heads& heads() const { return heads_; }
  const HeadProjections* find(int layer, int head) const;
  LaneRank rank(const HeadProjections& head) const {
    return {static_cast<int>(head.keys.size()) / head_dim_,
            static_cast<int>(head.values.size()) / head_dim_};
  }
  // SHA-256 over all heads, lower-case hex.
  const std::string& digest() const { return digest_; }

 private:
  Projections(int head_dim, Heads heads) : head_dim_(head_dim), heads_(std::move(heads)) {}

  int head_dim_;
  Heads heads_;
  std::string digest_;
};

// The Sylvester-Hadamard matrix of the largest power of two that divides `head_dim`, over its root,
// once for each block of as many numbers: orthonormal. [head_dim][head_dim]
std::vector<float> HadamardRows(int head_dim);

}  // namespace headlong
