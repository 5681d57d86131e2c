// Random attention tiles for the tests of AttendTile: data, runs, and where the queries stand.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "cache/storage.h"
#include "worker/kernels/attention_tile.h"

namespace headlong::cpu {

// A tile with its data: keys at positions [0, keys), cut into runs at will.
struct Case {
  int rows = 1;
  int group = 1;
  int head_dim = 64;
  int key_dims = 64;  // numbers of a key, and of a query that count
  int value_dims = 64;
  int64_t first_position = 0;
  Storage storage = Storage::kFloat32;  // of plain keys
  Storage value_storage = Storage::kFloat32;
  float scale = 1;
  std::vector<float> q;                           // [rows][head_dim]
  std::vector<float> keys;                        // [count][key_dims], rounded to the storage type
  std::vector<float> values;                      // [count][value_dims]
  std::vector<int64_t> positions;                 // of the keys, in the order of `keys`
  std::vector<std::pair<int64_t, int64_t>> runs;  // [begin, end) of rows of `keys`
  // Of coded runs, the first `plain_runs` aside: the types, and the rows before they were coded.
  Storage key_codes = Storage::kFloat32;
  Storage value_codes = Storage::kFloat32;
  size_t plain_runs = 0;
  std::vector<float> raw_keys, raw_values;
  bool compensates = false;
  std::vector<float> mean_key, mean_value;
  float log_count = 0;
  std::vector<float> slopes;  // [group], of ALiBi; empty: none
};

struct Result {
  std::vector<double> out;  // [rows][head_dim]
  std::vector<double> lse;  // [rows]
};
Result Reference(const Case& c);  // softmax in fp64
// REQUIRES: IsaSupported(isa).
Result RunTile(const Case& c, Isa isa);

class Cases {
 public:
  explicit Cases(uint64_t seed) : random_(seed) {}

  int Int(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  Storage Plain() {
    constexpr Storage kTypes[] = {Storage::kFloat32, Storage::kBfloat16, Storage::kFloat16};
    return kTypes[Int(0, 2)];
  }

  std::vector<float> Floats(int64_t n, float size = 1) {
    std::normal_distribution<float> normal(0, size);
    std::vector<float> v(n);
    for (float& x : v) x = normal(random_);
    return v;
  }

  // `keys` keys that begin somewhere before or at the queries, cut into random runs.
  Case Make(int head_dim, int group, int rows, int keys, Storage storage) {
    Case c;
    c.head_dim = c.key_dims = c.value_dims = head_dim;
    c.group = group;
    c.rows = rows;
    c.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    c.q = Floats(rows * head_dim);
    c.keys = Floats(int64_t{keys} * head_dim);
    c.values = Floats(int64_t{keys} * head_dim);
    StoreAs(storage, storage, c);
    const int64_t begin = Int(0, 3) == 0 ? int64_t{Int(0, 3)} << 33 : Int(0, 1000);
    // From "all keys are hidden" to "none is".
    c.first_position = begin + Int(-rows / group - 1, keys + 5);
    CutIntoRuns(begin, keys, c);
    c.compensates = Int(0, 1) == 1;
    if (c.compensates) {
      c.mean_key = Floats(head_dim, 0.3f);
      c.mean_value = Floats(head_dim, 0.3f);
      c.log_count = std::log(static_cast<float>(Int(1, 100000)));
    }
    return c;
  }

  // Rounds keys and values to plain types.
  static void StoreAs(Storage keys, Storage values, Case& c);

  // Leaves so many numbers of each key and value.
  static void Shorten(int key_dims, int value_dims, Case& c);

  // Makes the runs of `c` but for the first few hold codes; a type that does not code leaves them.
  void Code(Storage keys, Storage values, Case& c);

 private:
  void CutIntoRuns(int64_t position, int keys, Case& c) {
    const int kinds[] = {1, 4, 16, 16, 64, 64, 1000};
    const int longest = kinds[Int(0, 6)];
    for (int begin = 0; begin < keys;) {
      const int count = std::min(keys - begin, Int(longest > 4 ? 0 : 1, longest));
      if (Int(0, 9) == 0) position += Int(1, 40);  // a gap, as between sinks and window
      c.runs.emplace_back(begin, begin + count);
      for (int i = 0; i < count; ++i) c.positions.push_back(position++);
      begin += count;
    }
  }

  std::mt19937_64 random_;
};

}  // namespace headlong::cpu
