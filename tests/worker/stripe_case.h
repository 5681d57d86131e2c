// One layer whose heads are split over several workers: random stripes, chunks and batches, the
// owners' parts combined, against the fp64 reference of the unsplit heads. One body for CPUs and
// GPUs.
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cache/lane_class.h"
#include "worker/attention_shape.h"
#include "worker/batch.h"
#include "worker/lane_tables.h"

namespace headlong {

// Attention of one worker on some device, by host memory.
class StripeDevice {
 public:
  virtual ~StripeDevice() = default;
  virtual void BeginBatch(const Batch& batch, const LaneTables& tables) = 0;
  // out of layer 0: [rows][heads * group * head_dim]
  virtual std::vector<float> Run(const std::vector<float>& qkv, int rows) = 0;
  // [parts][rows][group]
  virtual std::vector<float> LogSums(int rows) = 0;
  virtual std::vector<float> Scaled(const std::vector<float>& parts, int rows) = 0;
};
using MakeStripeDevice =
    std::function<std::unique_ptr<StripeDevice>(const AttentionShape&, const CacheShape&)>;

struct StripeCase {
  Storage storage = Storage::kFloat32;
  int head_dim = 64;
  int group = 2;
  int owners = 3;
  int most_stripes = 12;
  std::vector<StripeRange> ranges;  // of head 0 by worker; empty: random
  int positions = 700;
  int sequences = 2;
  int max_rows = 160;
};
std::string Describe(const StripeCase& c);

// Head 0 is split over the owners, head 1 over others of them; one more worker holds nothing. All
// sequences in random chunks, decode rows among them. The largest difference to the reference, over
// the largest |reference| or 1; NaN counts as infinite.
double StripeDifference(const StripeCase& c, const MakeStripeDevice& make, std::mt19937_64& random);

struct StripeResult {
  double difference = 0;
  std::string of;  // the case
};
// The worst of 30 cases: one to five owners, short and long lanes, one to three sequences, the
// head_dims in turn.
StripeResult WorstOfRandomCases(Storage storage, const std::vector<int>& head_dims,
                                const MakeStripeDevice& make);
// Three owners of 7, 2 and 1 of 10 stripes.
double SevenTwoOneDifference(Storage storage, const MakeStripeDevice& make);

}  // namespace headlong
