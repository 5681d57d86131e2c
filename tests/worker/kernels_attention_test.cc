// AttendTile against softmax in fp64. Tolerance: 2e-5 of the largest value for the output, 2e-5 for
// the log-sum-exp (fp32 dot products of up to 256 terms and 1000 keys), on every instruction set
// that this processor has.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cache/storage.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/attention_case.h"
#include "worker/kernels/attention_cpu.h"
#include "worker/kernels/attention_tile.h"

namespace headlong::cpu {
namespace {

constexpr double kTolerance = 2e-5;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<Isa> SupportedIsas() {
  std::vector<Isa> isas;
  for (Isa isa : kAllIsas) {
    if (IsaSupported(isa)) isas.push_back(isa);
  }
  return isas;
}

double Largest(const std::vector<double>& v) {
  double largest = 1;
  for (double x : v) largest = std::max(largest, std::abs(x));
  return largest;
}

// "" or what differs.
std::string Difference(const Result& expected, const Result& got, double tolerance) {
  const double allowed = tolerance * Largest(expected.out);
  for (size_t i = 0; i < expected.out.size(); ++i) {
    if (!(std::abs(expected.out[i] - got.out[i]) <= allowed)) {
      return "out[" + std::to_string(i) + "] is " + std::to_string(got.out[i]) + ", not " +
             std::to_string(expected.out[i]);
    }
  }
  for (size_t r = 0; r < expected.lse.size(); ++r) {
    if (expected.lse[r] == got.lse[r]) continue;  // also -inf
    if (!(std::abs(expected.lse[r] - got.lse[r]) <=
          tolerance * std::max(1.0, std::abs(expected.lse[r])))) {
      return "lse[" + std::to_string(r) + "] is " + std::to_string(got.lse[r]) + ", not " +
             std::to_string(expected.lse[r]);
    }
  }
  return "";
}

std::string Describe(const Case& c, Isa isa) {
  return std::string(IsaName(isa)) + " rows " + std::to_string(c.rows) + " group " +
         std::to_string(c.group) + " head_dim " + std::to_string(c.head_dim) + " keys " +
         std::to_string(c.positions.size()) + " runs " + std::to_string(c.runs.size()) + " at " +
         std::to_string(c.first_position) + " " + std::string(StorageName(c.storage)) + "/" +
         std::string(StorageName(c.value_storage)) + (c.compensates ? " compensated" : "");
}

TEST(AttendTile, EqualsSoftmaxInFp64ForEveryShape) {
  Cases cases(1);
  for (int head_dim : {8, 16, 24, 48, 64, 80, 96, 128, 256}) {
    for (int group = 1; group <= 8; ++group) {
      for (Storage storage : {Storage::kFloat32, Storage::kBfloat16, Storage::kFloat16}) {
        for (int positions : {1, 2, 3, kMaxTileRows / group}) {
          const Case c = cases.Make(head_dim, group, positions * group, cases.Int(1, 300), storage);
          const Result expected = Reference(c);
          for (Isa isa : SupportedIsas()) {
            EXPECT_EQ(Difference(expected, RunTile(c, isa), kTolerance), "") << Describe(c, isa);
          }
        }
      }
    }
  }
}

// `shortened`: as of a head that is projected, fewer numbers of keys, of values, or of both.
void TryStoredRuns(bool shortened, uint64_t seed) {
  Cases cases(seed);
  constexpr Storage kTypes[] = {Storage::kFloat16, Storage::kFloat8, Storage::kInt8,
                                Storage::kInt4};
  for (int head_dim : {8, 16, 24, 48, 64, 80, 96, 128, 256}) {
    if (shortened && head_dim % 16 != 0) continue;
    for (Storage keys : kTypes) {
      for (Storage values : kTypes) {
        for (int positions : {1, 4, 16}) {
          const int group = cases.Int(1, 4), most = head_dim / 16;
          Case c = cases.Make(head_dim, group, positions * group, cases.Int(1, 300), cases.Plain());
          if (shortened) Cases::Shorten(16 * cases.Int(1, most), 16 * cases.Int(1, most), c);
          Cases::StoreAs(cases.Plain(), cases.Plain(), c);
          cases.Code(keys, values, c);
          const Result expected = Reference(c);
          for (Isa isa : SupportedIsas()) {
            EXPECT_EQ(Difference(expected, RunTile(c, isa), kTolerance), "")
                << Describe(c, isa) << " keys " << StorageName(keys) << " of " << c.key_dims
                << ", values " << StorageName(values) << " of " << c.value_dims;
          }
        }
      }
    }
  }
}

TEST(AttendTile, CodedRunsEqualSoftmaxInFp64) { TryStoredRuns(false, 4); }
TEST(AttendTile, ShortRowsEqualSoftmaxInFp64) { TryStoredRuns(true, 9); }

TEST(AttendTile, EqualsSoftmaxInFp64ForThousandsOfRandomTiles) {
  Cases cases(2);
  for (int trial = 0; trial < 4000; ++trial) {
    const int group = cases.Int(1, 8);
    const int rows = group * cases.Int(1, kMaxTileRows / group);
    const Case c = cases.Make(8 * cases.Int(1, trial % 50 == 0 ? 32 : 8), group, rows,
                              cases.Int(0, trial % 20 == 0 ? 700 : 150), cases.Plain());
    const Result expected = Reference(c);
    for (Isa isa : SupportedIsas()) {
      ASSERT_EQ(Difference(expected, RunTile(c, isa), kTolerance), "")
          << "trial " << trial << ": " << Describe(c, isa);
    }
  }
}

// Logits that fall with distance, over gaps as between sinks and window, too.
TEST(AttendTile, AlibiEqualsItsFormulaInFp64) {
  Cases cases(10);
  for (int trial = 0; trial < 1500; ++trial) {
    const int group = cases.Int(1, 8);
    const int rows = group * cases.Int(1, trial % 2 == 0 ? 2 : kMaxTileRows / group);
    Case c = cases.Make(8 * cases.Int(1, 16), group, rows, cases.Int(1, 300), cases.Plain());
    for (int head = 0; head < group; ++head) c.slopes.push_back(std::exp2(-cases.Int(0, 8)));
    if (trial % 3 == 0) cases.Code(Storage::kInt8, Storage::kInt4, c);
    const Result expected = Reference(c);
    for (Isa isa : SupportedIsas()) {
      ASSERT_EQ(Difference(expected, RunTile(c, isa), kTolerance), "")
          << "trial " << trial << ": " << Describe(c, isa);
    }
  }
}

TEST(AttendTile, BuildsForDifferentProcessorsAgree) {
  Cases cases(3);
  for (int trial = 0; trial < 200; ++trial) {
    const int group = cases.Int(1, 8);
    const int rows = group * cases.Int(1, kMaxTileRows / group);
    const Case c = cases.Make(64, group, rows, cases.Int(1, 500), Storage::kFloat32);
    const Result generic = RunTile(c, Isa::kGeneric);
    for (Isa isa : SupportedIsas()) {
      ASSERT_EQ(Difference(generic, RunTile(c, isa), 5e-6), "") << Describe(c, isa);
    }
  }
}

TEST(AttendTile, ARowDoesNotDependOnTheOthers) {
  Cases cases(4);
  for (int trial = 0; trial < 200; ++trial) {
    Case c = cases.Make(8 * cases.Int(1, 16), 1, cases.Int(2, kMaxTileRows), cases.Int(1, 300),
                        Storage::kFloat32);
    for (Isa isa : SupportedIsas()) {
      const Result all = RunTile(c, isa);
      const int row = cases.Int(0, c.rows - 1);
      Case one = c;
      one.rows = 1;
      one.first_position += row;
      one.q.assign(c.q.begin() + row * c.head_dim, c.q.begin() + (row + 1) * c.head_dim);
      Result expected;
      expected.out.assign(all.out.begin() + row * c.head_dim,
                          all.out.begin() + (row + 1) * c.head_dim);
      expected.lse.push_back(all.lse[row]);
      // Another order of summation where a lone row takes the path of decode; else the same bits.
      ASSERT_EQ(Difference(expected, RunTile(one, isa), 2e-6), "") << Describe(c, isa);
      Case wild = c;
      for (int r = 0; r < c.rows; ++r) {
        if (r == row) continue;
        for (int i = 0; i < c.head_dim; ++i) wild.q[r * c.head_dim + i] = 1e4f;
      }
      const Result other = RunTile(wild, isa);
      for (int i = 0; i < c.head_dim; ++i) {
        ASSERT_EQ(other.out[row * c.head_dim + i], expected.out[i]) << Describe(c, isa);
      }
    }
  }
}

TEST(AttendTile, PartsMergedByLogSumExpEqualTheWhole) {
  Cases cases(5);
  for (int trial = 0; trial < 300; ++trial) {
    const int group = cases.Int(1, 8);
    const int rows = group * cases.Int(1, kMaxTileRows / group);
    const Case whole = cases.Make(64, group, rows, cases.Int(2, 400), Storage::kBfloat16);
    if (whole.runs.size() < 2) continue;
    Case low = whole, high = whole;
    const auto middle = cases.Int(0, static_cast<int>(whole.runs.size()));
    low.runs.resize(middle);
    high.runs.erase(high.runs.begin(), high.runs.begin() + middle);
    high.compensates = false;  // the token belongs to exactly one part
    const Isa isa = SupportedIsas()[0];
    const Result a = RunTile(low, isa), b = RunTile(high, isa), expected = RunTile(whole, isa);
    Result merged = a;
    for (int r = 0; r < rows; ++r) {
      const double peak = std::max(a.lse[r], b.lse[r]);
      if (peak == -kInfinity) continue;
      merged.lse[r] = peak + std::log(std::exp(a.lse[r] - peak) + std::exp(b.lse[r] - peak));
      for (int i = r * 64; i < (r + 1) * 64; ++i) {
        merged.out[i] = a.out[i] * std::exp(a.lse[r] - merged.lse[r]) +
                        b.out[i] * std::exp(b.lse[r] - merged.lse[r]);
      }
    }
    ASSERT_EQ(Difference(expected, merged, 5e-6), "") << Describe(whole, isa);
  }
}

TEST(AttendTile, ARowThatSeesNothingIsZeroWithLseMinusInfinity) {
  for (Isa isa : SupportedIsas()) {
    for (int rows : {1, 3, 8, 40, 64}) {
      Cases cases(6);
      Case c = cases.Make(64, 1, rows, 100, Storage::kFloat32);
      c.compensates = false;
      c.first_position = c.positions[0] - rows + 1;  // only the last row sees one key
      const Result got = RunTile(c, isa);
      for (int r = 0; r + 1 < rows; ++r) {
        EXPECT_EQ(got.lse[r], -kInfinity);
        for (int i = 0; i < 64; ++i) EXPECT_EQ(got.out[r * 64 + i], 0) << IsaName(isa);
      }
      for (int i = 0; i < 64; ++i) {
        EXPECT_FLOAT_EQ(got.out[(rows - 1) * 64 + i], c.values[i]) << IsaName(isa);
      }
      c.runs.clear();
      EXPECT_THAT(RunTile(c, isa).lse, testing::Each(-kInfinity));
      EXPECT_THAT(RunTile(c, isa).out, testing::Each(0.0));
    }
  }
}

TEST(AttendTile, ExtremeLogitsStayFinite) {
  Cases cases(7);
  for (Isa isa : SupportedIsas()) {
    for (int rows : {1, 2, 3, 7, 8, 33, 64}) {
      for (float size : {1e3f, 1e6f, 1e15f, 1e18f}) {
        for (const bool negative : {false, true}) {
          Case c = cases.Make(32, 1, rows, 150, Storage::kFloat32);
          c.first_position = c.positions.back();  // all visible
          c.compensates = false;
          for (float& x : c.q) x = std::abs(x) * size;
          for (float& x : c.keys) x = negative ? -std::abs(x) * size : x * size;
          const Result got = RunTile(c, isa);
          for (double x : got.out) ASSERT_TRUE(std::isfinite(x)) << Describe(c, isa);
          for (double x : got.lse) ASSERT_TRUE(std::isfinite(x)) << Describe(c, isa);
          for (double x : got.out) ASSERT_LE(std::abs(x), 6) << Describe(c, isa);
        }
      }
    }
  }
}

// Keys at the end of fp16's range, as attention sinks may have them: what they stand for is exact.
TEST(AttendTile, TheLargestFloat16KeysAreExact) {
  Cases cases(11);
  for (Isa isa : SupportedIsas()) {
    for (int rows : {1, 2, 3, 7, 8, 33, 64}) {
      Case c = cases.Make(64, 1, rows, 150, Storage::kFloat16);
      c.first_position = c.positions.back();
      for (int i = 0; i < 64; ++i) {
        c.keys[i] = i % 2 == 0 ? 65504.0f : -65504.0f;
        c.values[i] = i % 3 == 0 ? 65504.0f : 0x1p-24f;
      }
      for (float& x : c.q) x *= 1e-4f;
      EXPECT_EQ(Difference(Reference(c), RunTile(c, isa), kTolerance), "") << Describe(c, isa);
    }
  }
}

TEST(AttendTile, NanInAQueryIsNotHidden) {
  for (Isa isa : SupportedIsas()) {
    for (int rows : {1, 2, 16}) {
      Cases cases(8);
      Case c = cases.Make(32, 1, rows, 20, Storage::kFloat32);
      c.first_position = c.positions.back();
      for (int i = 0; i < 32; ++i) c.q[i] = NAN;
      const Result got = RunTile(c, isa);
      EXPECT_TRUE(std::isnan(got.out[0])) << IsaName(isa) << " " << rows;
      if (rows > 1) {
        EXPECT_TRUE(std::isfinite(got.out[32])) << IsaName(isa) << " " << rows;
      }
    }
  }
}

// The compensation token alone is full attention over N equal keys.
TEST(AttendTile, CompensationTokenStandsForEqualKeys) {
  Cases cases(9);
  for (Isa isa : SupportedIsas()) {
    for (int rows : {1, 4, 16}) {
      Case full = cases.Make(64, 1, rows, 1, Storage::kFloat32);
      const std::vector<float> key = full.keys, value = full.values;
      for (int n = 1; n < 37; ++n) {
        full.keys.insert(full.keys.end(), key.begin(), key.end());
        full.values.insert(full.values.end(), value.begin(), value.end());
      }
      const std::vector<float> more = cases.Floats(64 * 10);
      full.keys.insert(full.keys.end(), more.begin(), more.end());
      full.values.insert(full.values.end(), more.begin(), more.end());
      full.positions.resize(47);
      for (int j = 0; j < 47; ++j) full.positions[j] = j;
      full.first_position = 46;
      full.compensates = false;
      full.runs = {{0, 47}};
      Case compensated = full;
      compensated.runs = {{37, 47}};
      compensated.compensates = true;
      compensated.mean_key = key;
      compensated.mean_value = value;
      compensated.log_count = std::log(37.0f);
      EXPECT_EQ(Difference(Reference(full), RunTile(compensated, isa), kTolerance), "");
    }
  }
}

}  // namespace
}  // namespace headlong::cpu
