#include "worker/kernels/decode_rows.h"

#include <set>

#include "gtest/gtest.h"

namespace headlong::cuda {
namespace {

constexpr uint32_t kMemory = 37 * kLineBytes;
constexpr int kRows = 16;

template <int kQuads>
class PlacesOfRows {
 public:
  using Rows = SharedRows<kQuads>;

  static uint32_t Place(int row, int quad) { return Rows::Quad(Rows::Begin(kMemory, row), quad); }

  static void AreApartAndInside() {
    std::set<uint32_t> places;
    for (int row = 0; row < kRows; ++row) {
      for (int quad = 0; quad < kQuads; ++quad) {
        const uint32_t place = Place(row, quad);
        EXPECT_EQ(place % 16, 0u);
        EXPECT_GE(place, kMemory);
        EXPECT_LT(place, kMemory + kRows * Rows::kRowBytes);
        EXPECT_TRUE(places.insert(place).second);
        EXPECT_EQ(place / kLineBytes, (kMemory + row * Rows::kRowBytes + quad * 16) / kLineBytes);
      }
    }
  }
  // What eight rows of a matrix load ask for at once.
  static void OfEightRowsAreOnDifferentBanks() {
    for (const int first : {0, 8}) {
      for (int quad = 0; quad < kQuads; ++quad) {
        std::set<uint32_t> banks;
        for (int row = first; row < first + 8; ++row) banks.insert(Place(row, quad) / 16 % 8);
        EXPECT_EQ(banks.size(), 8u) << first << ' ' << quad;
      }
    }
  }
  static void AreWhereTheyAreCopied() {
    for (int index = 0; index < kRows * kQuads; ++index) {
      const int thread = index % 32;
      EXPECT_EQ(Rows::Copied(kMemory, Rows::CopiedFirst(thread), index / 32, thread),
                Place(index / kQuads, index % kQuads));
    }
  }
  static void Check() {
    SCOPED_TRACE(kQuads);
    AreApartAndInside();
    OfEightRowsAreOnDifferentBanks();
    AreWhereTheyAreCopied();
  }
};

TEST(SharedRows, PlacesOfEveryLengthOfRows) {
  PlacesOfRows<2>::Check();
  PlacesOfRows<3>::Check();
  PlacesOfRows<4>::Check();
  PlacesOfRows<5>::Check();
  PlacesOfRows<6>::Check();
  PlacesOfRows<8>::Check();
  PlacesOfRows<10>::Check();
  PlacesOfRows<12>::Check();
  PlacesOfRows<16>::Check();
  PlacesOfRows<32>::Check();
}

}  // namespace
}  // namespace headlong::cuda
