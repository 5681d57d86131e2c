// Batches of unequal lanes for the tests of decode attention: data, pages in the order of block
// tables, what the definition says the result is (in fp64), and one run on the GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "cache/policy.h"
#include "worker/kernels/decode_cuda.h"

namespace headlong::cuda {

// Of all lanes, row after row: [lane][group][head_dim] and [lane][group].
struct DecodeResult {
  std::vector<double> out;
  std::vector<double> lse;
};

// One lane: everything that was ever its key and value, of which its rule keeps a part.
struct TestLane {
  LaneRule rule;
  LaneFormat format;                        // of its rows, where the shape's are not plain
  std::vector<float> raw_keys, raw_values;  // [length][head_dim] of those, before they are stored
  int64_t length = 0;                       // the query stands at length - 1; 0: nothing is there
  std::vector<float> keys;                  // [length][head_dim], as they are stored
  std::vector<float> values;
  std::vector<float> q;  // [group][head_dim], rounded
};

struct TestBatch {
  DecodeShape shape;
  float scale = 1;
  std::vector<TestLane> lanes;
};

LaneRule FullRule();
LaneRule LocalRule(int64_t sinks, int64_t window, Compensation compensation = Compensation::kMean);

float Rounded(float x, ElementType type);

class Batches {
 public:
  explicit Batches(uint64_t seed) : random_(seed) {}

  int Int(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  std::vector<float> Floats(int64_t n, ElementType type, float size = 1);
  TestLane Lane(const DecodeShape& shape, const LaneRule& rule, int64_t length);
  LaneRule Rule();
  // A lane's rows become what the shape's types and the format's dims make of them.
  static void Store(const DecodeShape& shape, TestLane& lane);
  // Full and local lanes of up to `longest` tokens.
  TestBatch Make(const DecodeShape& shape, int lanes, int longest);

 private:
  std::mt19937_64 random_;
};

// Softmax by the definition in DESIGN's section on local heads.
DecodeResult Reference(const TestBatch& batch);

// On the GPU, planned for `ctas`, or for as many as the device runs where that is 0. Whatever a
// lane does not hold is NaN in its pages, and so are outputs before they are written.
DecodeResult RunDecode(const TestBatch& batch, int ctas);

// "" or what differs by more than rounding in the caches' type allows.
std::string Difference(const DecodeResult& expected, const DecodeResult& got, ElementType type);

std::string Describe(const TestBatch& batch, int ctas);

}  // namespace headlong::cuda
